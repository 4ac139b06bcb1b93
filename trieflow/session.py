"""What every command shares: the global flags, and the settings that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.settings import Settings
    from trieflow.client import Client


@dataclass
class Session:
    """The global flags of one command line. Settings are read when a command asks for them."""

    flags: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """Flags over environment over file. Raises SettingsError with every fault."""
        from streams.settings import load_settings

        return load_settings(**self.flags)

    @cached_property
    def connected(self) -> Settings:
        """The settings with a broker, also that of a `trieflow up` in the data folder. Raises BrokerError."""
        from trieflow.running import connected

        return connected(self.settings)

    def client(self) -> Client:
        """A client for one command. Raises BrokerError."""
        from trieflow.client import Client

        return Client(self.connected)
