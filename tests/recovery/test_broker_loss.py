"""The broker goes away in the middle of the work and comes back: workers survive, or are started again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.invariants import assert_nothing_lost
from tests.recovery.processes import Supervisor
from tests.recovery.questions import Questions, assert_repeats_are_recognised
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(280)]

AWAY_S = 20.0
WORK_S = 60.0
DEALT_WITH_S = 150.0
"""Writers give up after 20 s, are started again, and catch up with two minutes of events."""


def stopped_for_a_while(broker: EmbeddedBroker) -> None:
    broker.stop()
    time.sleep(AWAY_S)
    broker.start()


def killed(broker: EmbeddedBroker) -> None:
    broker.kill()
    broker.start()


@pytest.mark.parametrize("goes_away", [stopped_for_a_while, killed])
def test_a_broker_that_goes_away_and_comes_back_costs_time_and_nothing_else(
    own_broker: Callable[..., EmbeddedBroker], tmp_path: Path, goes_away: Callable[[EmbeddedBroker], None]
) -> None:
    broker = own_broker()
    with System(broker.start(), tmp_path / "system") as system, _supervised(system):
        questions = Questions(system, deadline_s=200.0)
        with system.load(Workload(seed=51, partitions=2)), questions.under_way(rate=5):
            eventually(lambda: system.receipted() and questions.results(), WORK_S, what="work is under way")
            goes_away(broker)
            system.wait_until_dealt_with(DEALT_WITH_S)
        assert_nothing_lost(system)
        results = questions.results()
        assert all(result.error is None for given in results.values() for result in given)
        assert_repeats_are_recognised(system)


def test_workers_that_meet_a_broker_before_it_knows_its_topics_serve_all_of_them(
    own_broker: Callable[..., EmbeddedBroker], tmp_path: Path
) -> None:
    broker = own_broker()
    with System(broker.start(), tmp_path / "system") as system:
        broker.stop()
        with _supervised(system) as supervisors:
            broker.start()
            system.publish(Workload(seed=52, partitions=2).take(20))
            assert_nothing_lost(system)
            for supervisor in supervisors:
                supervisor.process.wait_ready()


@contextmanager
def _supervised(system: System) -> Iterator[tuple[Supervisor, Supervisor]]:
    """An indexer and a searcher, each started again whenever it ends."""
    with (
        Supervisor(lambda: system.start("indexer")) as indexer,
        Supervisor(lambda: system.start("searcher")) as searcher,
    ):
        yield indexer, searcher
