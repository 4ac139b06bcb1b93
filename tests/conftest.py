"""Fixtures for all tests: a real Kafka broker, started when the first test asks for it."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

from streams.broker import EmbeddedBroker

_T = TypeVar("_T")


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would all processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with systems of their own take turns, those that may take long with those that do not, and all others
    are spread among them: several workers seldom start systems at once, and nothing long is left for the end."""
    files: defaultdict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    systems = sorted((each for each in files.values() if _has_system(each)), key=_limit_s, reverse=True)
    half = (len(systems) + 1) // 2
    in_turns = _spread(systems[:half], systems[: half - 1 : -1])
    others = [each for each in files.values() if not _has_system(each)]
    items[:] = chain.from_iterable(_spread(in_turns, others))


def _has_system(tests: Sequence[pytest.Item]) -> bool:
    return any(test.get_closest_marker(name) for test in tests for name in ("integration", "recovery"))


def _limit_s(tests: Sequence[pytest.Item]) -> float:
    limits = (test.get_closest_marker("timeout") for test in tests)
    return max((float(limit.args[0]) for limit in limits if limit is not None), default=0.0)


def _spread(first: Sequence[_T], second: Sequence[_T]) -> list[_T]:
    """Both in their orders, each spread evenly over the whole."""
    placed = [(place / len(some), each) for some in (first, second) for place, each in enumerate(some)]
    return [each for _, each in sorted(placed, key=itemgetter(0))]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command that runs inside a test logs to that test's output, which is closed behind it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One running broker for the whole run. Name topics so that tests do not meet; never stop it."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), ephemeral=True) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., EmbeddedBroker]]:
    """A maker of brokers, not started yet, that the test may stop and kill; all are gone when it ends.

    The folder is `tmp_path / name`; the keywords are those of `EmbeddedBroker`.
    """
    made: list[EmbeddedBroker] = []

    def make(name: str = "broker", **keywords: int | None) -> EmbeddedBroker:
        made.append(EmbeddedBroker(tmp_path / name, ephemeral=True, **keywords))
        return made[-1]

    yield make
    for each in made:
        each.kill()
