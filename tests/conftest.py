"""Fixtures for all tests: a real Kafka broker, started when the first test asks for it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from streams.broker import EmbeddedBroker


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would all processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
