"""The salts of users on a searcher's disk: what `user-salts` says, up to an offset.

Of several salts of a user the one that stands first in the topic counts, and counts on until it is destroyed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import orjson

from state.columns import Columns, Overlay
from state.rows import decode_number, encode_number
from streams.errors import StateError
from streams.headers import now_ms

ColumnName = Literal["meta", "salts"]
SCHEMA_VERSION = 1
_SCHEMA, _CLUSTER, _NEXT, _WRITTEN_AT = b"schema", b"cluster", b"next", b"written_at"


class SaltRecord(NamedTuple):
    """Whose salt it is (keyed hash of the user id), which of several, and the salt; None: it is destroyed."""

    offset: int
    user: str
    proposal: str
    salt: str | None


class Salts:
    """One RocksDB. One thread writes, others may read. Lost, it is read again from the topic."""

    def __init__(self, path: Path, *, cluster: str, max_age_s: float) -> None:
        """Open it; made when missing.

        Raises StateError when it is damaged, of another schema or cluster, or not written to for longer than
        `max_age_s`: it could know salts that were destroyed since.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._columns: Columns[ColumnName] = Columns(path, get_args(ColumnName))
        expected = {_SCHEMA: b"%d" % SCHEMA_VERSION, _CLUSTER: cluster.encode()}
        found = {key: self._columns.get("meta", key) for key in expected}
        written_ms = decode_number(self._columns.get("meta", _WRITTEN_AT), now_ms())
        is_old = now_ms() - written_ms > max_age_s * 1_000
        if found[_SCHEMA] is not None and (found != expected or is_old):
            self._columns.close()
            raise StateError(f"{path} is too old, or of another schema or cluster: delete the folder")
        rows = Overlay(self._columns)
        for key, value in expected.items():
            rows.put("meta", key, value)
        self._columns.write(rows.mutations)

    @property
    def next_offset(self) -> int:
        """Where to go on reading."""
        return decode_number(self._columns.get("meta", _NEXT), 0)

    def of(self, user: str) -> str | None:
        """The salt of a user, None when there is none."""
        value = self._columns.get("salts", bytes.fromhex(user))
        return None if value is None else str(orjson.loads(value)[0][1])

    def apply(self, records: Iterable[SaltRecord]) -> None:
        """Take in records in the order of the topic, in one write; what was taken in before changes nothing."""
        rows, start = Overlay(self._columns), self.next_offset
        for record in records:
            if record.offset >= start:
                _take(rows, record)
                start = record.offset + 1
        rows.put("meta", _NEXT, encode_number(start))
        rows.put("meta", _WRITTEN_AT, encode_number(now_ms()))
        self._columns.write(rows.mutations)

    def compact(self) -> None:
        """Rewrite the files, so that no salt that was destroyed is left in them."""
        self._columns.compact()

    def close(self) -> None:
        self._columns.close()


def _take(rows: Overlay[ColumnName], record: SaltRecord) -> None:
    key = bytes.fromhex(record.user)
    known = orjson.loads(rows.get("salts", key) or b"[]")  # (proposal, salt), as they stand in the topic
    kept = [entry for entry in known if entry[0] != record.proposal]
    if record.salt is not None:
        kept.append((record.proposal, record.salt))
    rows.put("salts", key, orjson.dumps(kept) if kept else None)
