"""kill -9 of the indexer in every gap between its commit steps, while documents keep coming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.invariants import assert_nothing_lost, everything
from tests.recovery.system import System
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

PLACES = ("1-2", "2-3", "3-4", "4-5", "in-5", "5-6", "6-7")
PASSAGES = (1, 6)
"""The first batch after a start, which reads what the killed one left, and one in the middle of the work."""

seeds = count(1)


@pytest.fixture(scope="module")
def system(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all places: each test goes on where the one before has left the log and the shards."""
    with System(broker.bootstrap, tmp_path_factory.mktemp("kills")) as system:
        system.start("searcher").wait_ready()
        yield system


@pytest.mark.parametrize("place", PLACES)
def test_an_indexer_killed_between_two_steps_of_a_commit_loses_and_doubles_nothing(
    system: System, place: str
) -> None:
    workload = Workload(seed=next(seeds), partitions=system.settings.partitions)
    with system.load(workload):
        for passage in PASSAGES:
            assert system.start("indexer", crash_at=f"{place}:{passage}").wait_exit() == -9
    indexer = system.start("indexer")
    assert_nothing_lost(system)
    assert indexer.stop() == 0


def test_the_same_input_read_twice_changes_nothing(new_system: Callable[..., System]) -> None:
    system = new_system()
    searcher = system.start("searcher")
    indexer = system.start("indexer")
    events = [e for e in Workload(seed=6, partitions=2, documents=60).take(200) if e.value is not None]
    last_of_key = list({event.key: event for event in events if event.partition is None}.values())
    system.publish(last_of_key)
    truth = assert_nothing_lost(system)
    log, answers = len(system.records("assignments")), everything(system)
    assert len(answers) == len(truth.live) > 20

    system.publish(last_of_key)
    system.wait_for_receipts()
    indexer.kill()  # what it knew only in memory plays no part
    indexer = system.start("indexer").wait_ready()
    system.publish(last_of_key)

    again = assert_nothing_lost(system)
    assert len(system.records("assignments")) == log
    assert everything(system) == answers
    repeated = [status for address, status in again.statuses.items() if address not in truth.statuses]
    assert set(repeated) == {"unchanged", "rejected"}
    assert repeated.count("unchanged") == 2 * len(truth.live)
    assert (indexer.stop(), searcher.stop()) == (0, 0)
