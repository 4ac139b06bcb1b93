"""What must hold however often, and wherever, anything was killed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from agents.assignment_log import read_log_record
from state.records import LogRecord
from streams.dead_letters import ERROR_HEADER_PREFIX
from streams.events.assignments import CONTROL_PREFIX, Assignment
from streams.events.base import LogPosition
from streams.events.documents import Receipt
from streams.events.queries import Hit
from streams.headers import derived_id
from streams.records import Record
from tests.recovery.system import QUIET_S, System
from tests.recovery.workload import Address, Truth

LOGGED = frozenset({"indexed", "updated", "deleted"})
"""The statuses of events that leave a record in the log: their receipts are never repeated."""


def assert_nothing_lost(system: System, *, searched: bool = True) -> Truth:
    """Wait until the system is quiet, then compare every topic with the truth."""
    truth = system.wait_for_receipts()
    assert_log_is_the_latest(system, truth)
    assert_ids_are_given_once(system)
    assert_every_event_has_its_receipt(system, truth)
    assert_dead_letters(system, truth)
    if searched:
        assert_searcher_agrees(system, truth)
    return truth


def log_records(system: System) -> list[LogRecord]:
    """The whole index log, control records left out."""
    read = [read_log_record(record) for record in system.records("assignments")]
    return [record for record in read if not record.key.startswith(CONTROL_PREFIX)]


def latest(system: System) -> dict[str, LogRecord]:
    """The log as compaction would leave it."""
    return {record.key: record for record in log_records(system)}


def latest_assignments(system: System) -> dict[str, Assignment]:
    """The live documents of the log."""
    return {key: r.assignment for key, r in latest(system).items() if r.assignment is not None}


def assert_log_is_the_latest(system: System, truth: Truth) -> None:
    """The latest record of each key says what the latest valid event of that key said."""
    found = latest(system)
    assert found.keys() == truth.documents.keys()
    for key, expected in truth.documents.items():
        record = found[key]
        body = record.assignment or record.tombstone
        assert body is not None
        where = f"{key}: {body.source} in the log, {expected.source} in truth"
        assert (body.source.partition, body.source.offset) == expected.source, where
        assert (record.assignment is None) == (expected.body is None), where
        assert body.version == expected.version, where
        if record.assignment is not None:
            assert record.assignment.title == expected.title, where


def assert_ids_are_given_once(system: System) -> None:
    """No semantic id was ever given to two documents, nor is live at two; one document has one an epoch."""
    holders: dict[tuple[int, str], set[str]] = defaultdict(set)
    for record in log_records(system):
        for given in record.assignment.ids if record.assignment is not None else ():
            holders[given.epoch, given.semantic_id].add(record.key)
    shared = {code: documents for code, documents in holders.items() if len(documents) > 1}
    assert not shared, f"ids at several documents: {dict(list(shared.items())[:5])}"
    for key, assignment in latest_assignments(system).items():
        epochs = [given.epoch for given in assignment.ids]
        assert epochs, f"{key} has no id"
        assert len(epochs) == len(set(epochs)), f"{key} has two ids in one epoch: {assignment.ids}"


def assert_every_event_has_its_receipt(system: System, truth: Truth) -> None:
    """One receipt for each event with the status it must have; repeated only without a log record, same ce_id."""
    receipts: dict[Address, list[tuple[str, Receipt]]] = defaultdict(list)
    for record in system.records("receipts"):
        receipt = Receipt.model_validate_json(record.value or b"")
        address = (receipt.source.partition, receipt.source.offset)
        receipts[address].append((_event_id(record), receipt))
    assert receipts.keys() == truth.statuses.keys()
    at = {(record.partition, record.offset): record for record in system.records("assignments")}
    for address, status in truth.statuses.items():
        given = receipts[address]
        assert {receipt.status for _, receipt in given} == {status}, f"{address} must be {status}: {given}"
        assert {event_id for event_id, _ in given} == {_derived(system, address, "receipt")}
        if status in LOGGED:
            assert len(given) == 1, f"{address} is {status} and has {len(given)} receipts"
            _assert_points_to_its_record(given[0][1], at, _derived(system, address, "assignment"))
    _assert_one_log_record_each(system, truth)


def _assert_points_to_its_record(receipt: Receipt, at: dict[Address, Record], event_id: str) -> None:
    assert receipt.read_after is not None
    (position,) = receipt.read_after
    record = at[position.partition, position.offset]
    assert (record.key or b"").decode() == receipt.document_id
    assert _event_id(record) == event_id


def _assert_one_log_record_each(system: System, truth: Truth) -> None:
    made = Counter(_event_id(record) for record in system.records("assignments"))
    for address, status in truth.statuses.items():
        count = made[_derived(system, address, "assignment")]
        assert count == (status in LOGGED), f"{address} is {status} and has {count} log records"


def assert_dead_letters(system: System, truth: Truth) -> None:
    """Every rejected event lies there verbatim, with its address; a repeated one has the same."""
    letters: dict[Address, set[tuple[bytes | None, bytes | None]]] = defaultdict(set)
    topic = system.settings.topic("documents")
    for record in system.records("documents.dlq"):
        headers = dict(record.headers)
        assert headers[ERROR_HEADER_PREFIX + "topic"] == topic.encode()
        address = (
            int(headers[ERROR_HEADER_PREFIX + "partition"]),
            int(headers[ERROR_HEADER_PREFIX + "offset"]),
        )
        letters[address].add((record.key, record.value))
    rejected = {address for address, status in truth.statuses.items() if status == "rejected"}
    assert letters.keys() == rejected
    for address in rejected:
        event = truth.events[address]
        assert letters[address] == {(event.key, event.value)}


def assert_searcher_agrees(system: System, truth: Truth, *, titles: int = 10) -> None:
    """The searcher holds exactly the live documents with the ids of the log, and finds them by their titles."""
    found = everything(system)
    assigned = latest_assignments(system)
    assert found.keys() == truth.live.keys()
    for key, hit in found.items():
        assert hit.title == truth.live[key].title
        assert hit.semantic_id in {given.semantic_id for given in assigned[key].ids}
    for key in sorted(truth.live)[:titles]:
        answer = system.client.search(truth.live[key].title, mode="dense", top_k=5, timeout=20.0)
        assert answer.hits, answer
        assert answer.hits[0].document_id == key


def everything(system: System) -> dict[str, Hit]:
    """All documents of the searcher, once it has read the whole log."""
    ends, deadline = log_ends(system), time.monotonic() + QUIET_S
    while True:
        answer = system.client.search("all", mode="dense", top_k=1_000, read_after=ends, timeout=30.0)
        if answer.hits is not None:
            return {hit.document_id: hit for hit in answer.hits}
        assert answer.error is not None
        assert answer.error.code == "not_yet", answer.error
        assert time.monotonic() < deadline, "the searcher does not read the log to its end"


def log_ends(system: System) -> Sequence[LogPosition]:
    """The last record of each partition of the log."""
    ends = {record.partition: record.offset for record in system.records("assignments")}
    return [LogPosition(partition=partition, offset=offset) for partition, offset in ends.items()]


def _event_id(record: Record) -> str:
    return dict(record.headers)["ce_id"].decode()


def _derived(system: System, address: Address, operation: str) -> str:
    topic = system.settings.topic("documents")
    return derived_id(topic=topic, partition=address[0], offset=address[1], operation=operation)
