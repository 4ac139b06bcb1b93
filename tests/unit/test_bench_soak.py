"""The judges of the soak: they say nothing about shards that agree with the log, and find each kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.assignment_log import LogEntry
from benchmarks.soaking.account import Account, Change
from benchmarks.soaking.agreement import Comparison, compare_shard
from benchmarks.soaking.log_fold import LogFold, take_record
from state.records import LogRecord
from state.shard import Shard
from streams.headers import CORRELATION_ID
from streams.records import Record
from tests.log_records import assigned, assignment_of, completed, deleted, packed

A, B, C = packed("3.17.402.0"), packed("3.17.402.1"), packed("4.1.1.0")


def _of_b(title: str = "two", version: int = 3, number: int = 2) -> LogRecord:
    return assigned(
        "b", assignment_of({1: B}, title=title, version=version, fields={"number": number}), offset=2
    )


LOG = [
    assigned("a", assignment_of({1: A}, title="one"), offset=0),
    _of_b(),
    assigned("a", assignment_of({1: C}, retired=[(1, A)], title="one"), offset=4),
    assigned("c", assignment_of({1: packed("4.1.1.1")}), offset=5),
    deleted("c", {1: packed("4.1.1.1")}, offset=7, version=9),
    completed(1, partition=0, documents=2, offset=8),
]


def test_a_shard_that_took_in_the_log_agrees_with_it(tmp_path: Path) -> None:
    said = _compared(tmp_path, LOG)
    assert (said.faults, said.shown) == (0, [])
    assert (said.documents, said.ids, said.leaves) == (2, 2, 2)


@pytest.mark.parametrize(
    ("place", "other", "told"),
    [
        (1, _of_b(version=2), "version"),
        (1, _of_b(title="2"), "vectors"),
        (1, _of_b(number=3), "fields"),
        (2, assigned("a", assignment_of({1: A}, title="one"), offset=4), "ids"),
        (2, assigned("a", assignment_of({1: C}, title="one"), offset=4), "retired"),
        (4, assigned("c", assignment_of({1: packed("4.1.1.1")}), offset=7), "live documents"),
        (5, completed(1, partition=0, documents=3, offset=8), "complete"),
    ],
)
def test_a_shard_that_says_otherwise_is_found_out(
    tmp_path: Path, place: int, other: LogRecord, told: str
) -> None:
    said = _compared(tmp_path, [*LOG[:place], other, *LOG[place + 1 :]])
    assert said.faults
    assert any(told in line for line in said.shown), said.shown


def test_a_shard_that_stopped_early_is_found_out(tmp_path: Path) -> None:
    assert any("log position" in line for line in _compared(tmp_path, LOG[:-1]).shown)


def test_an_id_that_was_given_to_two_documents_is_found_even_when_it_was_given_up() -> None:
    fold = _folded([*LOG, assigned("d", assignment_of({1: A}), offset=9)])
    assert fold.given_twice == ["3.17.402.0 of epoch 1 is d's too"]


def test_each_change_needs_one_receipt_and_the_right_one() -> None:
    account = Account()
    for kind, number in (("new", 1), ("delete", 2), ("update", 3)):
        account.sent(Change(kind, number, 1))
    before = account.seen()
    for name, status in (("new/1/1", "indexed"), ("delete/2/1", "deleted"), ("update/3/1", "ignored")):
        account.take_receipt(_receipt(name, status))
    assert account.wrong == ["update/3/1: ignored "]
    assert account.waiting == 0
    account.take_receipt(_receipt("new/1/1", "indexed"))
    assert account.wrong[1:] == ["new/1/1: indexed "]
    assert not account.was_deleted("soak-0000002", before)
    assert account.was_deleted("soak-0000002", account.seen())


def _compared(tmp_path: Path, records: Sequence[LogRecord]) -> Comparison:
    """A shard that took in these records, against the fold of `LOG`."""
    with Shard.open(tmp_path / "shard") as shard:
        shard.apply(records)
    return compare_shard("shard", tmp_path / "shard", _folded(LOG))


def _folded(records: Sequence[LogRecord]) -> LogFold:
    fold = LogFold()
    for record in records:
        entry = LogEntry(record.key, "event", [], record.assignment, record.tombstone, record.control)
        take_record(
            fold,
            Record(
                "assignments",
                record.partition,
                record.offset,
                record.key.encode(),
                entry.value(),
                entry.headers(active_epoch=1),
            ),
        )
    return fold


def _receipt(name: str, status: str) -> Record:
    value = b'{"status": "%s", "read_after": [{"partition": 0, "offset": 1}]}' % status.encode()
    return Record("receipts", 0, 0, b"key", value, [(CORRELATION_ID, name.encode())])
