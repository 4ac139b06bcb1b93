"""Systems for the tests of recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.system import System


@pytest.fixture
def new_system(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """A maker of systems on the shared broker, for one test. Keywords are settings."""
    with ExitStack() as stack:

        def make(name: str = "system", **settings: str) -> System:
            return stack.enter_context(System(broker.bootstrap, tmp_path / name, **settings))

        yield make
