"""The fold of the log: what one record changes in a shard.

The owner (just after its transaction), a replay after a takeover and a replica all run this same code, so
they cannot come apart. A record is the whole truth about its document: the outcome does not depend on what
compaction took out of the log before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import structlog

from state import rows
from state.columns import Columns, Mutations, Overlay
from state.records import EpochCode, LogRecord
from state.rows import StoredDocument, StoredIds
from streams.events.assignments import Assignment
from streams.events.base import SourceAddress
from streams.semantic_id import INSTANCE_BITS, INSTANCES, LEVEL_SIZES

log = structlog.get_logger()
_LEAF_LEVELS = 3
_NodeName = tuple[int, int, int]
ColumnName = Literal["meta", "ids", "by_id", "docs", "vectors", "trie"]


class Fold:
    """Collects the changes of some records over the rows of a shard; `mutations()` is their sum.

    A record sees what the records before it did, written or not.
    """

    def __init__(self, columns: Columns[ColumnName]) -> None:
        self._rows = Overlay(columns)
        self._numbers: dict[bytes, int] = {}
        self._nodes: dict[_NodeName, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._documents = 0

    def apply(self, records: Sequence[LogRecord], *, now: float) -> None:
        """Take in records. Those at or below the stored log position have been taken in before."""
        assigned = [
            None if (given := record.assignment) is None else StoredIds.of(given) for record in records
        ]
        self._read_ahead(records, assigned)
        for record, stored in zip(records, assigned, strict=True):
            self._apply(record, stored, now=now)

    def raise_applied(self, topic: str, offset: int) -> None:
        """Note that source events up to `offset` are dealt with. It never goes back."""
        key = rows.applied_key(topic)
        self._numbers[key] = max(offset, self._number(key, -1))

    def mutations(self) -> Mutations[ColumnName]:
        """All changes, for one write. The fold is used up."""
        self._rows.read_ahead("trie", [rows.node_key(*name) for name in self._nodes])
        for name, deltas in self._nodes.items():
            key = rows.node_key(*name)
            self._rows.put("trie", key, _with_deltas(self._rows.get("trie", key) or b"", deltas))
        self._numbers[rows.COUNT_KEY] = self._number(rows.COUNT_KEY, 0) + self._documents
        for key, number in self._numbers.items():
            self._rows.put("meta", key, rows.encode_number(number))
        return self._rows.mutations

    def _read_ahead(self, records: Sequence[LogRecord], assigned: Sequence[StoredIds | None]) -> None:
        """Read together what `_apply` will look at: a read costs more than a row."""
        olds = self._rows.read_ahead(
            "ids", [record.key.encode() for record in records if record.control is None]
        )
        codes: dict[EpochCode, None] = {}
        for old in filter(None, olds):
            codes.update(dict.fromkeys(rows.decode_codes(old).items()))
        for stored in filter(None, assigned):
            codes.update(dict.fromkeys(stored.ids.items()))
        self._rows.read_ahead("by_id", [rows.id_key(*code) for code in codes])
        counters = [rows.counter_key(epoch, packed >> INSTANCE_BITS) for epoch, packed in codes]
        self._rows.read_ahead("meta", [rows.COUNT_KEY, *counters])

    def _apply(self, record: LogRecord, stored: StoredIds | None, *, now: float) -> None:
        position_key = rows.position_key(record.partition)
        if record.offset < self._number(position_key, 0):
            return
        if record.assignment is not None and stored is not None:
            self._assign(record.key.encode(), record.assignment, stored)
        elif record.tombstone is not None:
            deleted = StoredIds.of_deleted(record.tombstone, at=now)
            self._replace(record.key.encode(), deleted)
            for column in ("docs", "vectors"):
                self._rows.put(column, record.key.encode(), None)
        elif record.control is not None:
            done = record.control
            self._numbers[rows.complete_key(done.epoch, done.partition)] = done.documents
        self._numbers[position_key] = record.offset + 1

    def _assign(self, key: bytes, assignment: Assignment, stored: StoredIds) -> None:
        self._replace(key, stored)
        self._rows.put("docs", key, StoredDocument.encode(assignment))
        self._rows.put("vectors", key, rows.encode_vectors(assignment.vectors))

    def _replace(self, key: bytes, new: StoredIds) -> None:
        old = self._stored(key)
        before: Mapping[int, int] = old.ids if old else {}
        for code in before.items() - new.ids.items():
            self._release(code, key)
        for code in new.ids.items() - before.items():
            self._claim(code, key)
        for code in (*new.ids.items(), *new.retired):
            self._raise_counter(code)
        self._documents += (not new.deleted) - (old is not None and not old.deleted)
        self._rows.put("ids", key, new.encode())
        self._raise_applied_by(new.source)

    def _release(self, code: EpochCode, key: bytes) -> None:
        id_key = rows.id_key(*code)
        if self._rows.get("by_id", id_key) == key:
            self._rows.put("by_id", id_key, None)
            self._count(code, -1)

    def _claim(self, code: EpochCode, key: bytes) -> None:
        id_key = rows.id_key(*code)
        holder = self._rows.get("by_id", id_key)
        if holder is None:
            self._count(code, 1)
        elif holder != key:
            self._take_away(code, holder)
        self._rows.put("by_id", id_key, key)

    def _take_away(self, code: EpochCode, holder: bytes) -> None:
        # One fenced writer never hands out a code twice; should a log hold that, the later record wins.
        log.warning("semantic_id_taken_over", epoch=code[0], code=code[1], document=holder.decode())
        old = self._stored(holder)
        if old is not None:
            ids = {epoch: packed for epoch, packed in old.ids.items() if (epoch, packed) != code}
            kept = StoredIds(ids, old.retired, old.version, old.content_hash, old.source, old.codebook_offset)
            self._rows.put("ids", holder, kept.encode())

    def _raise_counter(self, code: EpochCode) -> None:
        epoch, packed = code
        key = rows.counter_key(epoch, packed >> INSTANCE_BITS)
        self._numbers[key] = max(packed % INSTANCES + 1, self._number(key, 0))

    def _raise_applied_by(self, source: SourceAddress) -> None:
        if source.topic is not None:
            self.raise_applied(source.topic, source.offset)

    def _count(self, code: EpochCode, delta: int) -> None:
        epoch, prefix = code[0], code[1] >> INSTANCE_BITS
        for level in range(_LEAF_LEVELS, 0, -1):
            size = LEVEL_SIZES[level - 1]
            prefix, token = divmod(prefix, size)
            self._nodes[epoch, level - 1, prefix][token] += delta

    def _number(self, key: bytes, default: int) -> int:
        if key not in self._numbers:
            self._numbers[key] = rows.decode_number(self._rows.get("meta", key), default)
        return self._numbers[key]

    def _stored(self, key: bytes) -> StoredIds | None:
        value = self._rows.get("ids", key)
        return None if value is None else StoredIds.decode(value)


def _with_deltas(value: bytes, deltas: Mapping[int, int]) -> bytes | None:
    """The packed children of a node after their live counts changed; None when none is left."""
    live = dict(rows.decode_children(value))
    for token, delta in deltas.items():
        live[token] = live.get(token, 0) + delta
    return rows.encode_children((token, live[token]) for token in sorted(live) if live[token] > 0) or None
