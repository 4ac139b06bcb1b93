"""The embedded Kafka of one `trieflow up`: started, started again when it dies, stopped last."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streams.broker import EmbeddedBroker
from streams.errors import BrokerError

_STAGES = {
    "jars": "fetching Kafka (45 MB, once)",
    "format": "laying out Kafka's log",
    "boot": "starting Kafka",
}
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 1.0, 30.0


class BrokerKeeper:
    """Keeps one broker alive on one port. It dies with this process, however that ends.

    What Kafka has acknowledged survives its death; workers and clients find it again at the same address.
    """

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        self._broker = EmbeddedBroker(folder, ephemeral=True)
        self._note = note
        self._told: set[str] = set()
        self._backoff_s = _FIRST_BACKOFF_S
        self._next_start = 0.0

    def start(self) -> str:
        """Start the broker; return host:port. Raises BrokerError."""
        return self._broker.start(self._progress)

    def tick(self) -> None:
        """Start the broker again when it is dead. Waits until it serves; failures are noted and tried again."""
        if self._broker.pid is not None or time.monotonic() < self._next_start:
            return
        self._note(f"Kafka has ended; starting it again. Its log: {self._broker.log_path}")
        try:
            self._broker.start(self._progress)
        except BrokerError as error:
            self._note(f"{error}\nagain in {self._backoff_s:g} s")
            self._next_start = time.monotonic() + self._backoff_s
            self._backoff_s = min(_LAST_BACKOFF_S, 2 * self._backoff_s)
        else:
            self._backoff_s = _FIRST_BACKOFF_S

    def stop(self) -> None:
        """End the broker in order."""
        self._broker.stop()

    def _progress(self, stage: str, share: float) -> None:
        if stage in _STAGES and stage not in self._told:
            self._told.add(stage)
            self._note(_STAGES[stage])
