"""kill -9 of a searcher that keeps snapshots of its index: after every start it holds what the log says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.recovery.invariants import assert_nothing_lost, assert_searcher_agrees
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]


def test_a_searcher_goes_on_from_its_snapshot_and_what_came_since(new_system: Callable[..., System]) -> None:
    system = new_system(index__snapshot_every_s="3")
    path = system.folder("searcher") / "index" / "index.npz"
    workload = Workload(seed=23, partitions=2)
    system.publish(workload.take(150))
    system.start("indexer")
    searcher = system.start("searcher").wait_ready()
    system.wait_for_receipts()
    eventually(path.exists, 60.0, what="a snapshot is written")
    for _ in range(3):
        # Killed at any moment, also while it writes: under load, snapshots follow each other.
        with system.load(workload):
            searcher.kill()
            searcher = system.start("searcher").wait_ready()
            system.wait_until_dealt_with()
        searcher.kill()
        searcher = system.start("searcher").wait_ready()
        assert_searcher_agrees(system, system.wait_for_receipts())
        assert "index read from its snapshot" in searcher.log()
    assert_nothing_lost(system)
    assert searcher.stop() == 0
