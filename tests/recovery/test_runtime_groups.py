"""B7: a worker that lives and consumes nothing ends; and partitions that change hands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.recovery.runtime_group import Group, first_of_each, numbers

pytestmark = pytest.mark.recovery


# -- B7: zombies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["coordinator", "fetcher"])
def test_b7_a_part_of_the_client_that_dies_in_silence_ends_the_process_and_live_tells_before(
    new_group: Callable[..., Group], dies: str
) -> None:
    """B7: Faust never asks aiokafka whether its tasks still run."""
    group = new_group()
    group.publish(numbers(1))
    worker = group.start(dies=dies, slow_at={0: 3.0})  # as long, the end waits for the batch
    seen = worker.pages_until_exit("live")
    assert worker.wait_exit() == 1
    assert any(status == 503 and "stopped" in body for status, body in seen)
    assert worker.logged("cancelled")


def test_b7_a_worker_whose_name_is_taken_over_ends(new_group: Callable[..., Group]) -> None:
    """aiokafka's heartbeats do not carry the name: the two would take it from each other for ever."""
    group = new_group()
    older = group.start()
    older.wait_until_ready()
    younger = group.start()
    assert older.wait_exit() == 1
    group.publish(numbers(3))
    group.wait_until_committed(3)
    assert younger.exit_status is None


def test_b7_a_rebalance_that_does_not_end_ends_the_process(new_group: Callable[..., Group]) -> None:
    """Faust resumes in a task of its own, which may wait for ever or give up in silence."""
    group = new_group()
    group.publish(numbers(1))
    worker = group.start(faust_never_resumes=True, rebalance_timeout=1.0)
    assert worker.wait_exit() == 1
    assert "a rebalance did not end" in worker.logged("worker ends")[0]["reason"]


def test_b7_a_worker_that_a_batch_keeps_from_a_rebalance_ends(new_group: Callable[..., Group]) -> None:
    """The group goes on without it; waiting for the batch, it would be a member of nothing."""
    group = new_group(grace_s=1.0)
    group.publish(numbers(3))
    stuck = group.start("a", slow_at={1: 600.0}, rebalance_timeout=1.0)
    stuck.wait_for("handling", offset=1)
    group.start("b", rebalance_timeout=1.0)
    assert stuck.wait_exit() == 1
    group.wait_until_committed(3)
    assert first_of_each(group.offsets()) == [0, 1, 2]


# -- rebalances ---------------------------------------------------------------------------------------------


@contextmanager
def load(group: Group) -> Iterator[list[int]]:
    """Write about 40 records a second to each of two partitions; how many is in the list."""
    stopping = threading.Event()
    counts = [0, 0]

    def run() -> None:
        while not stopping.wait(0.25):
            for partition in (0, 1):
                group.publish(numbers(10), partition=partition)
                counts[partition] += 10

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        stopping.set()
        thread.join()


def test_nothing_is_lost_or_out_of_order_while_workers_join_stop_and_die(
    new_group: Callable[..., Group],
) -> None:
    group = new_group(partitions=2)
    with load(group) as counts:
        first = group.start("a", batch=4)
        group.wait_until_handled([0], partition=0)
        second = group.start("b", batch=4)
        group.wait_until_handled_by("b")
        group.assert_nothing_unhandled_is_committed(partitions=2)
        first.terminate()
        assert first.wait_exit() == 0
        group.assert_nothing_unhandled_is_committed(partitions=2)
        group.start("a", batch=4).wait_for("handled")
        second.kill()
        group.assert_nothing_unhandled_is_committed(partitions=2)
    for partition, count in enumerate(counts):
        group.wait_until_committed(count, partition=partition)
        assert first_of_each(group.offsets(partition=partition)) == list(range(count))


def test_a_full_queue_does_not_hold_up_a_rebalance(new_group: Callable[..., Group]) -> None:
    group = new_group(partitions=2)
    for partition in (0, 1):
        group.publish(numbers(30), partition=partition)
    first = group.start("a", queue=1, seconds=0.2)
    first.wait_for("handled", offset=1)
    group.start("b", queue=1)
    group.wait_until_handled_by("b")
    for partition in (0, 1):
        group.wait_until_committed(30, partition=partition)
        assert first_of_each(group.offsets(partition=partition)) == list(range(30))


def test_a_partition_that_is_slow_to_give_away_costs_no_membership_and_is_opened_again_afterwards(
    new_group: Callable[..., Group],
) -> None:
    """aiokafka sends no heartbeat as long as it tells of an assignment; the session is 6 s."""
    group = new_group(partitions=2)
    first = group.start("a", slow_close=9.0)
    first.wait_until_ready()
    second = group.start("b")
    first.wait_for("closing")
    second.kill()
    for partition in (0, 1):
        group.publish(numbers(5), partition=partition)
    for partition in (0, 1):
        group.wait_until_committed(5, partition=partition)
        assert first_of_each(group.offsets(partition=partition)) == list(range(5))
    assert first.exit_status is None
    (lost,) = first.logged("closing")
    of_it = [entry["event"] for entry in first.entries() if entry.get("partition") == lost["partition"]]
    assert of_it[:6] == ["opening", "opened", "closing", "closed", "opening", "opened"]
    assert len(first.logged("partitions")) == 3, (
        "it came, the second came, the second went: no more rebalances"
    )


def test_a_partition_held_through_a_generation_that_was_missed_is_opened_anew(
    new_group: Callable[..., Group],
) -> None:
    """It may have been another's in between: what this worker knows of it is old."""
    group = new_group(partitions=2)
    group.publish(numbers(1), partition=0)
    first = group.start("a", misses_a_generation=True)
    first.wait_for("handled")
    group.start("b").wait_for("opened")
    for partition in (0, 1):
        group.publish(numbers(3), partition=partition)
    group.wait_until_committed(4, partition=0)
    group.wait_until_committed(3, partition=1)
    opened = [entry["partition"] for entry in first.logged("opened")]
    assert sorted(opened[:2]) == [0, 1]
    assert len(opened) == 3, "the one that it kept"


def test_a_rebalance_waits_for_work_between_batches(new_group: Callable[..., Group]) -> None:
    """A new epoch is written between batches: under another owner already, it would be fenced."""
    group = new_group(partitions=2)
    first = group.start("a", slow_between=2.0)
    first.wait_for("batches again")
    second = group.start("b", slow_between=2.0)
    second.wait_for("opening")
    (taken,) = {entry["partition"] for entry in second.logged("opening")}
    taken_at = min(entry["timestamp"] for entry in second.logged("opening"))
    events = [e for e in first.entries() if e.get("partition") == taken and e["timestamp"] < taken_at]
    begun = [e for e in events if e["event"] == "between batches"]
    ended = [e for e in events if e["event"] == "batches again"]
    assert len(begun) == len(ended) > 0


def test_a_partition_that_takes_long_to_open_holds_up_no_other(new_group: Callable[..., Group]) -> None:
    """It is full soon; what comes for it stays where it was fetched, and the others go on."""
    group = new_group(partitions=2)
    for partition in (0, 1):
        group.publish(numbers(40), partition=partition)
    worker = group.start(queue=4, slow_open={0: 15.0})
    group.wait_until_handled(range(40), partition=1)
    assert [entry["partition"] for entry in worker.logged("opened")] == [1]
    group.wait_until_handled(range(40), partition=0)
    assert group.offsets(partition=0) == list(range(40))
    assert not worker.logged("caught up"), "none was missed, and looked for"
    assert not worker.logged("gap filled"), "none was dropped"
