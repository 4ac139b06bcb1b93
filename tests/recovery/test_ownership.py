"""Partitions change hands under load: by a join, a kill, a clean stop, and away from an owner that only sleeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.records import Record
from tests.recovery.invariants import assert_nothing_lost
from tests.recovery.processes import WorkerProcess
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

MISSED_S = 60.0
"""A killed owner is missed after its session (6 s); the rest is a machine that is busy."""


def test_indexers_that_join_die_and_leave_under_load_hand_everything_over(
    new_system: Callable[..., System],
) -> None:
    system = new_system(partitions="4")
    system.start("searcher")
    first = system.start("indexer", "first").wait_ready()
    with system.load(Workload(seed=31, partitions=4)):
        second = system.start("indexer", "second")
        eventually(lambda: _share([first, second]), MISSED_S, what="both hold two partitions")
        system.wait_until_dealt_with()
        second.kill()
        eventually(lambda: first.held() == {0, 1, 2, 3}, MISSED_S, what="the first took all over")
        system.wait_until_dealt_with()
        third = system.start("indexer", "third")
        eventually(lambda: _share([first, third]), MISSED_S, what="the third has its part")
        assert first.stop() == 0
        eventually(lambda: third.held() == {0, 1, 2, 3}, MISSED_S, what="the third took all over")
        system.wait_until_dealt_with()
    assert_nothing_lost(system)
    assert third.stop() == 0


def test_an_owner_that_slept_through_its_session_is_fenced_and_exits(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    system.start("searcher")
    sleeper = system.start("indexer", "sleeper").wait_ready()
    successor = system.start("indexer", "successor")
    eventually(lambda: _share([sleeper, successor]), MISSED_S, what="each holds one partition")
    (contested,) = sleeper.held()

    # So much that it falls asleep in the middle of it, and goes on with it when it wakes.
    system.publish(Workload(seed=32, partitions=2).take(2_000))
    eventually(lambda: _receipts_of(system, contested), MISSED_S, what="it has begun")
    sleeper.pause()
    begun = len(_receipts_of(system, contested))
    eventually(lambda: successor.held() == {0, 1}, MISSED_S, what="the successor took over")
    eventually(lambda: len(_receipts_of(system, contested)) > begun, MISSED_S, what="the successor writes")
    sleeper.resume()

    assert sleeper.wait_exit() == 1, "it ends by itself, as a failure"
    assert "FencedError" in sleeper.log() or "the group gave this worker up" in sleeper.log()
    assert_nothing_lost(system)
    assert successor.stop() == 0


def _receipts_of(system: System, partition: int) -> list[Record]:
    return [record for record in system.records("receipts") if record.partition == partition]


def _share(indexers: list[WorkerProcess]) -> bool:
    """Whether the partitions are spread evenly, each held once."""
    held = [indexer.held() for indexer in indexers]
    return len({len(partitions) for partitions in held}) == 1 and not set.intersection(*held) and all(held)
