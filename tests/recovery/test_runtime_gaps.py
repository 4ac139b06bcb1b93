"""B5: runs of records that Faust does not deliver are read from Kafka and handled in their place.

Faust clears the queues of its agents when it resumes; what was fetched in between is gone, and the commit stays
at the gap or, where it is one record wide, goes over it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.clients import transactional_producer
from tests.recovery.runtime_group import Group, numbers

pytestmark = pytest.mark.recovery


@pytest.mark.parametrize("remembers", [False, True])
def test_b5_records_that_faust_skips_are_read_and_handled_in_their_place(
    new_group: Callable[..., Group], remembers: bool
) -> None:
    group = new_group()
    group.publish([*numbers(11), None, "12"])
    worker = group.start(batch=3, faust_skips=(0, 4, 5, 6, 8, 11), remembers=remembers)
    group.wait_until_handled(range(13))
    assert [(h.offset, h.value) for h in group.handled()] == [
        *enumerate(numbers(11)),
        (11, None),
        (12, "12"),
    ]
    assert sum(entry["records"] for entry in worker.logged("gap filled")) == 6
    group.wait_until_committed(13)


def test_b5_records_skipped_at_the_end_are_handled_by_the_next_worker(
    new_group: Callable[..., Group],
) -> None:
    group = new_group()
    group.publish(numbers(5))
    worker = group.start(faust_skips=(3, 4), look_interval=600.0)
    worker.wait_for("skipped", offset=4)
    group.wait_until_committed(3)
    worker.kill()
    group.start()
    group.wait_until_committed(5)
    assert group.offsets() == list(range(5))


def test_b5_records_skipped_at_the_end_are_handled_though_nothing_follows(
    new_group: Callable[..., Group],
) -> None:
    group = new_group()
    group.publish(numbers(5))
    worker = group.start(faust_skips=(3, 4))
    group.wait_until_handled(range(5))
    group.wait_until_committed(5)
    group.publish(numbers(6)[5:])
    group.wait_until_committed(6)
    assert group.offsets() == list(range(6)), "what came late is not handled twice"
    assert [entry["records"] for entry in worker.logged("caught up")] == [2]


def test_b5_records_of_aborted_transactions_and_their_markers_are_no_gaps(
    new_group: Callable[..., Group],
) -> None:
    group = new_group()
    client = transactional_producer(group.settings, transactional_id=group.settings.prefix, timeout_s=10.0)
    client.init_transactions(30)
    for value, end in (("a", "commit"), ("b", "abort"), ("c", "commit"), ("d", "abort"), ("e", "commit")):
        client.begin_transaction()
        for number in range(2):
            client.produce(group.settings.topic("in"), f"{value}{number}", partition=0)
        client.flush()
        client.commit_transaction(30) if end == "commit" else client.abort_transaction(30)
    worker = group.start(batch=4)
    group.wait_until_committed(14)  # each transaction: two records and a marker
    assert [h.value for h in group.handled()] == ["a0", "a1", "c0", "c1", "e0", "e1"]
    assert not worker.logged("gap filled")


def test_b5_a_head_that_retention_deleted_is_no_gap(new_group: Callable[..., Group]) -> None:
    group = new_group()
    group.publish(numbers(15))
    group.commit(9)
    group.delete_before(12)
    worker = group.start()
    group.wait_until_committed(15)
    assert group.offsets() == [12, 13, 14]
    assert not worker.logged("gap filled")


# -- state beside the group ---------------------------------------------------------------------------------


def test_b5_state_that_is_behind_the_group_catches_up_before_anything_new(
    new_group: Callable[..., Group],
) -> None:
    group = new_group()
    group.publish(numbers(10))
    group.set_position(3)  # as an older disk would
    group.commit(8)
    group.start(batch=2, remembers=True)
    group.wait_until_committed(10)
    assert group.offsets() == list(range(3, 10))


def test_b5_state_that_is_ahead_of_the_group_sees_nothing_twice(new_group: Callable[..., Group]) -> None:
    group = new_group()
    group.publish(numbers(8))
    group.set_position(6)  # died before the ack
    group.commit(3)
    group.start(remembers=True)
    group.wait_until_committed(8)
    assert group.offsets() == [6, 7]


@pytest.mark.parametrize("ahead", ["state", "group"])
def test_what_is_ahead_of_its_topic_ends_the_process(new_group: Callable[..., Group], ahead: str) -> None:
    """A topic made anew: state and Faust would take all that is published to it for handled before."""
    group = new_group()
    group.publish(numbers(8))
    group.set_position(9) if ahead == "state" else group.commit(9)
    worker = group.start(remembers=ahead == "state")
    assert worker.wait_exit() == 1
    assert "ends at 8" in worker.logged("worker ends")[0]["reason"]
    assert group.offsets() == []
