"""Faust's ways to lose what fails, overtakes or is stopped, each tried on our runtime.

A real broker, real processes. B1 to B7 are the numbers of `docs/adr/0002-safe-faust-subset.md`; B5 stands in
`test_runtime_gaps.py`, B7 in `test_runtime_groups.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.runtime_group import COMMIT_S, WAIT_S, Group, numbers
from tests.recovery.waiting import eventually

pytestmark = pytest.mark.recovery


# -- B1, B2: an exception -----------------------------------------------------------------------------------


def test_b1_an_exception_ends_the_process_and_the_failing_record_is_not_committed(
    new_group: Callable[..., Group],
) -> None:
    """B1: Faust acks the record at which an agent raised, and goes on."""
    group = new_group()
    group.publish(numbers(8))
    worker = group.start(fail_at=3)
    assert worker.wait_exit() == 1
    assert "broken on purpose" in worker.logged("worker ends")[0]["reason"]
    assert group.offsets() == [0, 1, 2]
    assert group.committed() == 3
    group.start()
    group.wait_until_committed(8)
    assert group.offsets() == list(range(8))


def test_b2_an_exception_in_a_batch_commits_nothing_of_the_batch(new_group: Callable[..., Group]) -> None:
    """B2: Faust's `take` acks the whole batch whose body raised."""
    group = new_group()
    group.publish(numbers(12))
    worker = group.start(batch=4, fail_at=6)
    assert worker.wait_exit() == 1
    failed = next(entry["offsets"] for entry in worker.logged("handling") if 6 in entry["offsets"])
    assert len(failed) > 1
    assert group.offsets() == list(range(failed[0]))
    assert group.committed() == failed[0]


def test_b1_a_failure_lets_other_partitions_finish_what_runs(new_group: Callable[..., Group]) -> None:
    """What ends after the failure is committed too; a crash of Faust takes away what would carry the commit."""
    group = new_group(partitions=2)
    worker = group.start(fail_at=1, slow_at={0: 2.0})
    group.publish(numbers(1), partition=1)
    group.wait_until_handled([0], partition=1)
    group.publish(numbers(1), partition=0)
    eventually(lambda: len(worker.logged("handling")) == 2, WAIT_S, what="partition 0 is being handled")
    group.publish(numbers(2), partition=1)
    assert worker.wait_exit() == 1
    assert group.offsets(partition=0) == [0]
    assert group.committed(partition=0) == 1
    assert group.committed(partition=1) == 1


# -- B3: batches overtake each other ------------------------------------------------------------------------


def test_b3_batches_that_overtake_an_unfinished_one_are_not_committed_over_it(
    new_group: Callable[..., Group],
) -> None:
    """B3: Faust commits over a single record that still runs."""
    group = new_group()
    group.publish(numbers(8))
    worker = group.start(concurrent_batches=4, slow_at={2: 600.0})
    group.wait_until_handled([0, 1, 3, 4, 5])
    time.sleep(2 * COMMIT_S)  # a wrong commit would come with the next one
    assert group.committed() == 2
    worker.kill()
    assert 2 not in group.offsets()
    group.start()
    group.wait_until_committed(8)
    assert set(group.offsets()) == set(range(8))


def test_b3_what_faust_skips_at_the_end_is_not_committed(new_group: Callable[..., Group]) -> None:
    """B3: only what was handled counts, whatever Faust makes of the rest."""
    group = new_group()
    group.publish(numbers(6))
    worker = group.start(faust_skips=(3, 4, 5), look_interval=600.0)
    worker.wait_for("skipped", offset=5)
    group.wait_until_committed(3)
    time.sleep(2 * COMMIT_S)  # a wrong commit would come with the next one
    assert group.committed() == 3
    worker.kill()
    group.start()
    group.wait_until_committed(6)
    assert group.offsets() == list(range(6))


# -- B4: stops ----------------------------------------------------------------------------------------------


def test_b4_a_stop_finishes_what_runs_and_leaves_what_waits(new_group: Callable[..., Group]) -> None:
    """B4: Faust acks what it cancels when it stops, and commits it."""
    group = new_group()
    group.publish(numbers(20))
    worker = group.start(batch=2, seconds=1.0, in_thread=True)
    worker.wait_for("handling", offset=2)
    worker.terminate()
    assert worker.wait_exit() == 0
    begun = worker.logged("handling")[-1]["offsets"]
    assert worker.logged("handled")[-1]["offsets"] == begun
    assert begun[-1] < 19, "nothing waited: the test says nothing"
    assert group.committed() == begun[-1] + 1
    group.start(batch=4)
    group.wait_until_committed(20)
    assert group.offsets() == list(range(20)), "nothing lost, and nothing twice after a clean stop"


@pytest.mark.parametrize("in_thread", [False, True])
def test_b4_a_stop_lets_go_of_a_batch_that_outlives_the_grace(
    new_group: Callable[..., Group], in_thread: bool
) -> None:
    group = new_group(grace_s=1.0)
    group.publish(numbers(6))
    worker = group.start(slow_at={3: 600.0}, in_thread=in_thread)
    worker.wait_for("handling", offset=3)
    worker.terminate()
    assert worker.wait_exit() == 0
    assert worker.logged("stopped in the middle of a batch: it will be handled again")
    assert group.committed() == 3
    group.start()
    group.wait_until_committed(6)
    assert group.offsets() == list(range(6))


@pytest.mark.parametrize(
    "opening", [{}, {"slow_open": {0: 600.0}}, {"slow_open": {0: 600.0}, "in_thread": True}]
)
def test_b4_a_stop_of_a_worker_without_work_is_clean(
    new_group: Callable[..., Group], opening: dict[str, float]
) -> None:
    worker = new_group(grace_s=1.0).start(**opening)
    worker.wait_for("opening" if opening else "opened")
    worker.terminate()
    assert worker.wait_exit() == 0
    assert not worker.logged("worker ends")


def test_b4_a_stop_while_the_broker_is_away_ends(
    own_broker: Callable[..., EmbeddedBroker], new_group_on: Callable[..., Group]
) -> None:
    """aiokafka looks for the group's coordinator until it finds one."""
    broker = own_broker()
    broker.start()
    group = new_group_on(broker.bootstrap, grace_s=1.0)
    group.publish(numbers(3))
    worker = group.start(slow_at={2: 3.0})
    worker.wait_for("handling", offset=2)
    broker.kill()
    worker.terminate()
    assert worker.wait_exit() == 1


# -- B6: outputs --------------------------------------------------------------------------------------------


def test_b6_an_output_that_the_broker_refuses_ends_the_process_before_the_ack(
    new_group: Callable[..., Group],
) -> None:
    """B6: Faust only logs a send that failed, and commits its source."""
    group = new_group()
    group.create_topic("narrow", **{"max.message.bytes": "1000"})
    group.publish(numbers(4))
    worker = group.start(output="narrow", padding=4_000)
    assert worker.wait_exit() == 1
    assert "too large" in worker.logged("worker ends")[0]["reason"]
    assert group.records("narrow") == []
    assert group.committed() == 0
