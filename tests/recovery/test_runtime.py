"""Faust's ways to lose records, each tried on our runtime with a real broker and real processes.

B1 to B7 are the numbers of `docs/adr/0002-safe-faust-subset.md`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker
from streams.clients import transactional_producer
from tests.recovery.runtime_group import COMMIT_S, Group, first_of_each

pytestmark = pytest.mark.recovery


@pytest.fixture
def new_group(broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Callable[..., Group]]:
    with ExitStack() as stack:

        def make(**keywords: int) -> Group:
            return stack.enter_context(Group(broker.bootstrap, tmp_path, **keywords))

        yield make


def values(count: int) -> list[str]:
    return [str(number) for number in range(count)]


# -- B1, B2: an exception -----------------------------------------------------------------------------------


def test_an_exception_ends_the_process_and_the_failing_record_is_not_committed(new_group):
    group = new_group()
    group.publish(values(8))
    worker = group.start(fail_at=3)
    assert worker.wait_exit() == 1
    assert "broken on purpose" in worker.logged("worker ends")[0]["reason"]
    assert group.offsets() == [0, 1, 2]
    assert group.committed() == 3
    group.start()
    group.wait_until_committed(8)
    assert group.offsets() == list(range(8))


def test_an_exception_in_a_batch_commits_nothing_of_the_batch(new_group):
    group = new_group()
    group.publish(values(12))
    worker = group.start(batch=4, fail_at=6)
    assert worker.wait_exit() == 1
    failed = next(entry["offsets"] for entry in worker.logged("handling") if 6 in entry["offsets"])
    assert len(failed) > 1
    assert group.offsets() == list(range(failed[0]))
    assert group.committed() == failed[0]


def test_a_failure_lets_other_partitions_finish_what_runs(new_group):
    group = new_group(partitions=2)
    worker = group.start(fail_at=1, slow_at={0: 2.0})
    worker.wait_until_ready()
    group.publish(values(1), partition=0)
    worker.wait_for("handling", offset=0)
    group.publish(values(2), partition=1)  # its offset 0 takes as long, then offset 1 fails
    assert worker.wait_exit() == 1
    assert group.offsets(partition=0) == [0]
    assert group.committed(partition=0) == 1
    assert group.committed(partition=1) == 1


# -- B3: batches overtake each other ------------------------------------------------------------------------


def test_batches_that_overtake_an_unfinished_one_are_not_committed_over_it(new_group):
    group = new_group()
    group.publish(values(8))
    worker = group.start(concurrent_batches=4, slow_at={2: 600.0})
    group.wait_until_handled([0, 1, 3, 4, 5])
    time.sleep(2 * COMMIT_S)  # a wrong commit would come with the next one
    assert group.committed() == 2
    worker.kill()
    assert 2 not in group.offsets()
    group.start()
    group.wait_until_committed(8)
    assert set(group.offsets()) == set(range(8))


# -- B4: stops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_stop_finishes_what_runs_and_leaves_what_waits(new_group, in_thread):
    group = new_group()
    group.publish(values(20))
    worker = group.start(batch=2, seconds=1.0, in_thread=in_thread)
    worker.wait_for("handling", offset=4)
    worker.terminate()
    assert worker.wait_exit() == 0
    begun = worker.logged("handling")[-1]["offsets"]
    assert worker.logged("handled")[-1]["offsets"] == begun
    assert begun[-1] < 19, "nothing waited: the test says nothing"
    assert group.committed() == begun[-1] + 1
    group.start(batch=4)
    group.wait_until_committed(20)
    assert group.offsets() == list(range(20)), "nothing lost, and nothing twice after a clean stop"


def test_a_stop_lets_go_of_a_batch_that_outlives_the_grace(new_group):
    group = new_group()
    group.publish(values(6))
    worker = group.start(slow_at={3: 600.0})
    worker.wait_for("handling", offset=3)
    worker.terminate()
    assert worker.wait_exit() == 0
    assert worker.logged("stopped in the middle of a batch: it will be handled again")
    assert group.committed() == 3
    group.start()
    group.wait_until_committed(6)
    assert group.offsets() == list(range(6))


@pytest.mark.parametrize("slow_open", [0.0, 600.0])
def test_a_stop_of_a_worker_without_work_is_clean(new_group, slow_open):
    worker = new_group().start(slow_open=slow_open)
    worker.wait_for("partitions")
    if not slow_open:
        worker.wait_until_ready()
    worker.terminate()
    assert worker.wait_exit() == 0
    assert not worker.logged("worker ends")


# -- B5: runs of records that Faust does not deliver --------------------------------------------------------


@pytest.mark.parametrize("remembers", [False, True])
def test_records_that_faust_skips_are_read_and_handled_in_their_place(new_group, remembers):
    group = new_group()
    group.publish([*values(11), None, "12"])
    worker = group.start(batch=3, faust_skips=(0, 4, 5, 6, 8, 11), remembers=remembers)
    group.wait_until_handled(range(13))
    assert [(h.offset, h.value) for h in group.handled()] == [
        *enumerate(values(11)),
        (11, None),
        (12, "12"),
    ]
    assert len(worker.logged("gap filled")) == 4
    group.wait_until_committed(13)


def test_records_skipped_at_the_end_are_handled_by_the_next_worker(new_group):
    group = new_group()
    group.publish(values(5))
    worker = group.start(faust_skips=(3, 4))
    worker.wait_for("skipped", offset=4)
    group.wait_until_committed(3)
    worker.kill()
    group.start()
    group.wait_until_committed(5)
    assert group.offsets() == list(range(5))


def test_records_of_aborted_transactions_and_their_markers_are_no_gaps(new_group):
    group = new_group()
    client = transactional_producer(group.settings, transactional_id=group.settings.prefix, timeout_s=10.0)
    client.init_transactions(30)
    for value, end in (("a", "commit"), ("b", "abort"), ("c", "commit"), ("d", "abort"), ("e", "commit")):
        client.begin_transaction()
        for number in range(2):
            client.produce(group.settings.topic("in"), f"{value}{number}", partition=0)
        client.flush()
        client.commit_transaction(30) if end == "commit" else client.abort_transaction(30)
    worker = group.start()
    group.wait_until_committed(14)  # each transaction: two records and a marker
    assert [h.value for h in group.handled()] == ["a0", "a1", "c0", "c1", "e0", "e1"]
    assert not worker.logged("gap filled")


def test_a_head_that_retention_deleted_is_no_gap(new_group):
    group = new_group()
    group.publish(values(9))
    first = group.start()
    group.wait_until_committed(9)
    first.kill()
    group.publish(values(6))
    group.delete_before(12)
    worker = group.start()
    group.wait_until_committed(15)
    assert group.offsets() == [*range(9), 12, 13, 14]
    assert not worker.logged("gap filled")


def test_state_that_is_behind_the_group_catches_up_before_anything_new(new_group):
    group = new_group()
    group.publish(values(8))
    first = group.start(batch=3, remembers=True)
    group.wait_until_committed(8)
    first.terminate()
    assert first.wait_exit() == 0
    group.set_position(5)  # as an older disk would
    group.publish(values(2))
    group.start(batch=3, remembers=True)
    group.wait_until_committed(10)
    assert group.offsets() == [*range(8), 5, 6, 7, 8, 9]


def test_state_that_is_ahead_of_the_group_sees_nothing_twice(new_group):
    group = new_group()
    group.publish(values(6))
    worker = group.start(concurrent_batches=1, slow_at={5: 600.0}, remembers=True)
    worker.wait_for("handling", offset=5)
    worker.kill()  # whatever was committed until now
    group.set_position(6)  # a state that got as far as it could, then died before the ack
    group.publish(values(2))
    group.start(remembers=True)
    group.wait_until_committed(8)
    assert group.offsets() == [0, 1, 2, 3, 4, 6, 7]


# -- B6: outputs --------------------------------------------------------------------------------------------


def test_an_output_that_the_broker_refuses_ends_the_process_before_the_ack(new_group):
    group = new_group()
    group.create_topic("narrow", **{"max.message.bytes": "1000"})
    group.publish(values(4))
    worker = group.start(output="narrow", padding=4_000)
    assert worker.wait_exit() == 1
    assert "too large" in worker.logged("worker ends")[0]["reason"]
    assert group.records("narrow") == []
    assert group.committed() == 0


# -- B7: a coordinator that died in silence -----------------------------------------------------------------


def test_a_coordinator_that_stopped_ends_the_process_and_live_tells_before(new_group):
    group = new_group()
    group.publish(values(3))
    worker = group.start(coordinator_dies_after=3)
    seen = worker.pages_until_exit("live")
    assert worker.wait_exit() == 1
    assert any(status == 503 and "coordinator" in body for status, body in seen)
    assert worker.logged("coordinator cancelled")


def test_a_worker_whose_name_is_taken_over_ends(new_group):
    """The broker fences the older of two static members of one name; aiokafka parks its coordinator then."""
    group = new_group()
    older = group.start()
    older.wait_until_ready()
    younger = group.start()
    assert older.wait_exit() == 1
    younger.wait_until_ready()
    assert "Fenced" in older.logged("worker ends")[0]["reason"]
    group.publish(values(3))
    group.wait_until_committed(3)
    assert {h.worker for h in group.handled()} == {"0"}


# -- rebalances ---------------------------------------------------------------------------------------------


@contextmanager
def load(group: Group) -> Iterator[list[int]]:
    """Write about 40 records a second to each of two partitions; how many is in the list."""
    stopping = threading.Event()
    counts = [0, 0]

    def run() -> None:
        while not stopping.wait(0.25):
            for partition in (0, 1):
                group.publish(values(10), partition=partition)
                counts[partition] += 10

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        stopping.set()
        thread.join()


def test_nothing_is_lost_or_out_of_order_while_workers_join_stop_and_die(new_group):
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


def test_a_full_queue_does_not_hold_up_a_rebalance(new_group):
    group = new_group(partitions=2)
    for partition in (0, 1):
        group.publish(values(30), partition=partition)
    first = group.start("a", queue=1, seconds=0.2)
    first.wait_for("handled", offset=1)
    group.start("b", queue=1)
    group.wait_until_handled_by("b")
    for partition in (0, 1):
        group.wait_until_committed(30, partition=partition)
        assert first_of_each(group.offsets(partition=partition)) == list(range(30))


def test_records_that_come_while_a_partition_is_given_away_are_not_lost(new_group):
    group = new_group(partitions=2)
    first = group.start("a", slow_close=3.0)
    first.wait_until_ready()
    group.start("b", slow_close=3.0)
    first.wait_for("closing")
    for partition in (0, 1):
        group.publish(values(5), partition=partition)
    for partition in (0, 1):
        group.wait_until_committed(5, partition=partition)
        assert first_of_each(group.offsets(partition=partition)) == list(range(5))
    assert {h.worker for h in group.handled()} == {"a", "b"}
