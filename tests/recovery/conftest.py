"""Systems and consumer groups for the tests of recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.runtime_group import Group
from tests.recovery.system import System


@pytest.fixture
def new_system(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """A maker of systems on the shared broker, for one test. Keywords are settings."""
    with ExitStack() as stack:

        def make(name: str = "system", **settings: str) -> System:
            return stack.enter_context(System(broker.bootstrap, tmp_path / name, **settings))

        yield make


@pytest.fixture
def new_group_on(tmp_path: Path) -> Iterator[Callable[..., Group]]:
    """A maker of consumer groups on a broker of its address, for one test. Keywords are those of `Group`."""
    with ExitStack() as stack:

        def make(bootstrap: str, **keywords: float) -> Group:
            return stack.enter_context(Group(bootstrap, tmp_path / "group", **keywords))

        yield make


@pytest.fixture
def new_group(broker: EmbeddedBroker, new_group_on: Callable[..., Group]) -> Callable[..., Group]:
    """A maker of consumer groups on the shared broker, for one test. Keywords are those of `Group`."""
    return partial(new_group_on, broker.bootstrap)
