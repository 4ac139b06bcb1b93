"""What a topic of one partition says, as rows on a searcher's disk, up to an offset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from state.columns import Columns, Overlay
from state.rows import decode_number, encode_number
from streams.errors import StateError
from streams.headers import now_ms

_SCHEMA, _CLUSTER, _NEXT, _WRITTEN_AT = b"schema", b"cluster", b"next", b"written_at"
_OWES = b"owes"
_META = "meta"


class TopicRecord(Protocol):
    """A record of the topic, decoded."""

    @property
    def offset(self) -> int:
        """Its place in the topic."""
        ...

    @property
    def is_deletion(self) -> bool:
        """Whether something is to leave no bytes behind."""
        ...


R = TypeVar("R", bound=TopicRecord)


class TopicRows(Generic[R]):
    """One RocksDB, rows in one column. One thread writes, others may read. Lost, the topic rebuilds it."""

    def __init__(self, path: Path, column: str, *, schema: int, cluster: str, max_age_s: float) -> None:
        """Open it; made when missing.

        Raises StateError when it is damaged, of another schema or cluster, or not written to for longer than
        `max_age_s`: it could know what was deleted since.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.column = column
        self._columns: Columns[str] = Columns(path, (_META, column))
        expected = {_SCHEMA: b"%d" % schema, _CLUSTER: cluster.encode()}
        found = {key: self._columns.get(_META, key) for key in expected}
        written_ms = decode_number(self._columns.get(_META, _WRITTEN_AT), now_ms())
        is_old = now_ms() - written_ms > max_age_s * 1_000
        if found[_SCHEMA] is not None and (found != expected or is_old):
            self._columns.close()
            raise StateError(f"{path} is too old, or of another schema or cluster: delete the folder")
        rows = Overlay(self._columns)
        for key, value in expected.items():
            rows.put(_META, key, value)
        self._columns.write(rows.mutations)
        self.owes_compaction = self._columns.get(_META, _OWES) is not None

    @property
    def next_offset(self) -> int:
        """Where to go on reading."""
        return decode_number(self._columns.get(_META, _NEXT), 0)

    def row(self, key: bytes) -> bytes | None:
        """The row of a key, None when there is none."""
        return self._columns.get(self.column, key)

    def take(self, rows: Overlay[str], record: R) -> None:
        """Put into `rows` what a record changes."""
        raise NotImplementedError

    def apply(self, records: Iterable[R]) -> None:
        """Take in records in the order of the topic, in one write; what was taken in before changes nothing.

        A deletion makes a compaction due, for whoever opens it next too.
        """
        rows, start = Overlay(self._columns), self.next_offset
        for record in records:
            if record.offset >= start:
                self.take(rows, record)
                start = record.offset + 1
                self.owes_compaction |= record.is_deletion
        if self.owes_compaction:
            rows.put(_META, _OWES, b"")
        rows.put(_META, _NEXT, encode_number(start))
        rows.put(_META, _WRITTEN_AT, encode_number(now_ms()))
        self._columns.write(rows.mutations)

    def compact(self) -> None:
        """Rewrite the files, so that nothing of what was deleted is left in them."""
        self._columns.compact()
        self.owes_compaction = False
        rows = Overlay(self._columns)
        rows.put(_META, _OWES, None)
        self._columns.write(rows.mutations)

    def close(self) -> None:
        self._columns.close()
