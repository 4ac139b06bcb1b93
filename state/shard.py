"""A shard: one RocksDB that holds a fold of the `assignments` log.

An indexer keeps one for each partition it owns, a replica one for all partitions. Lost or damaged, it is
read again from the log. One thread writes; others may read. `fold.py` says what a record changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import get_args

from state import rows
from state.columns import Columns, Mutations, SharedMemory
from state.fold import ColumnName, Fold
from state.records import LogRecord, Tombstone
from state.rows import StoredDocument, StoredIds, StoredVector
from streams.errors import StateError
from streams.semantic_id import INSTANCE_BITS, LEVEL_SIZES, Leaf, SemanticId

__all__ = [
    "SCHEMA_VERSION", "STAMP", "LogRecord", "Shard", "SharedMemory", "StoredDocument", "StoredIds", "StoredVector",
    "Tombstone",
]  # fmt: skip

SCHEMA_VERSION = 1
STAMP = "stamp"
"""Name of the setting (`meta_get`) that holds the stamp of the encoder."""
_SCHEMA, _WRITTEN_AT = b"schema", b"written_at"
_SETTING = b"setting/"
_LEAF_LEVELS = 3
_UNCOMPRESSED: tuple[ColumnName, ...] = ("vectors",)


class Shard:
    """Rows, counters, trie nodes and positions of one RocksDB. Build it by `open`; close it when done."""

    def __init__(self, path: Path, columns: Columns[ColumnName]) -> None:
        self.path = path
        self._columns = columns
        self._writing = threading.RLock()
        self._open = True

    @classmethod
    def open(cls, path: Path, *, memory: SharedMemory | None = None, sync: bool = False) -> Shard:
        """Open the shard at `path`; made when missing. `sync`: fsync each batch.

        Raises ShardLockedError when it is open elsewhere, StateError when it is damaged or of another
        schema; the message says what to do.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = Columns(path, get_args(ColumnName), uncompressed=_UNCOMPRESSED, memory=memory, sync=sync)
        shard = cls(path, columns)
        schema = rows.decode_number(columns.get("meta", _SCHEMA), 0)
        if schema not in (0, SCHEMA_VERSION):
            shard.close()
            raise StateError(
                f"{path} has schema {schema}, this version reads {SCHEMA_VERSION}: "
                "delete the folder, it is rebuilt from the log"
            )
        if schema == 0:
            shard._put_meta(_SCHEMA, rows.encode_number(SCHEMA_VERSION))
        return shard

    def apply(self, records: Sequence[LogRecord], *, applied: Mapping[str, int] | None = None) -> None:
        """Take in log records and note applied source offsets, all in one write or not at all.

        Records that were taken in before are skipped, so a replay changes nothing. Every call, also an
        empty one by a reader that has caught up, renews `written_at`.
        """
        with self._writing:
            now = time.time()
            fold = Fold(self._columns)
            fold.apply(records, now=now)
            for topic, offset in (applied or {}).items():
                fold.raise_applied(topic, offset)
            mutations = fold.mutations()
            mutations.columns["meta"][_WRITTEN_AT] = rows.encode_number(int(now * 1000))
            self._columns.write(mutations)

    def position(self, partition: int) -> int:
        """The log offset to read next, 0 when nothing was read."""
        return rows.decode_number(self._columns.get("meta", rows.position_key(partition)), 0)

    def positions(self) -> dict[int, int]:
        """`position` of every partition that was read from."""
        found = self._columns.items("meta", prefix=b"position/")
        return {int(key.rpartition(b"/")[2]): rows.decode_number(value, 0) for key, value in found}

    def applied(self, topic: str) -> int:
        """The highest applied source offset, -1 when none. Means something for a shard of one partition."""
        return rows.decode_number(self._columns.get("meta", rows.applied_key(topic)), -1)

    def written_at(self) -> float | None:
        """When the last `apply` ran (seconds since the epoch), or None."""
        value = self._columns.get("meta", _WRITTEN_AT)
        return None if value is None else rows.decode_number(value, 0) / 1000

    def stored(self, document_id: str) -> StoredIds | None:
        """Ids and version. A deleted document is found with `deleted` set, until it is forgotten."""
        value = self._columns.get("ids", document_id.encode())
        return None if value is None else StoredIds.decode(value)

    def document(self, document_id: str) -> StoredDocument | None:
        """The stored fields, None for an unknown or deleted document."""
        return self.documents_named([document_id])[0]

    def documents_named(self, document_ids: Sequence[str]) -> list[StoredDocument | None]:
        """`document` of each, in one read."""
        values = self._columns.get_all("docs", [document_id.encode() for document_id in document_ids])
        return [None if value is None else StoredDocument.decode(value) for value in values]

    def vectors(self, document_id: str) -> list[StoredVector]:
        """The stored vectors, none for an unknown or deleted document."""
        return rows.decode_vectors(self._columns.get("vectors", document_id.encode()) or b"")

    def document_with(self, epoch: int, packed_id: int) -> str | None:
        """The live document with this id."""
        value = self._columns.get("by_id", rows.id_key(epoch, packed_id))
        return None if value is None else value.decode()

    def scan(self, *, after: str = "") -> Iterator[tuple[str, StoredIds]]:
        """Live documents behind `after` in order of ids; goes on beside a writer, holds nothing open."""
        start = after.encode() + b"\x00" if after else b""
        for key, value in self._columns.items("ids", start=start):
            stored = StoredIds.decode(value)
            if not stored.deleted:
                yield key.decode(), stored

    def documents(self) -> Iterator[tuple[str, Mapping[int, int], StoredDocument, list[StoredVector]]]:
        """Id, packed ids by epoch, fields and vectors of all live documents, in order of document ids.

        One pass over the disk, while nobody writes: a document that changes meanwhile may be left out.
        """
        fields = _Merged(self._columns.items("docs"))
        vectors = _Merged(self._columns.items("vectors"))
        for key, value in self._columns.items("ids"):
            document = fields.at(key)
            if document is not None:
                rows_of = rows.decode_vectors(vectors.at(key) or b"")
                yield key.decode(), rows.decode_codes(value), StoredDocument.decode(document), rows_of

    def document_ids(self) -> Iterator[str]:
        """The ids of all live documents, in order."""
        return (document_id for document_id, _ in self.scan())

    def next_instance(self, epoch: int, leaf: Leaf) -> int:
        """The lowest instance code above all that this shard ever saw in the leaf. It never goes back."""
        return rows.decode_number(self._columns.get("meta", rows.counter_key(epoch, leaf.packed())), 0)

    def count(self) -> int:
        """How many documents are live."""
        return rows.decode_number(self._columns.get("meta", rows.COUNT_KEY), 0)

    def children(self, epoch: int, prefix: Sequence[int] = ()) -> list[tuple[int, int]]:
        """(code, live documents) below a path of up to three codes, by code; () is the root."""
        packed = 0
        for number, size in zip(prefix, LEVEL_SIZES, strict=False):
            packed = packed * size + number
        if len(prefix) == _LEAF_LEVELS:
            found = self._columns.items("by_id", prefix=rows.id_key(epoch, packed << INSTANCE_BITS)[:-2])
            return [(SemanticId.unpacked(int.from_bytes(key[4:])).instance, 1) for key, _ in found]
        node = self._columns.get("trie", rows.node_key(epoch, len(prefix), packed)) or b""
        return rows.decode_children(node)

    def completed(self, epoch: int) -> dict[int, int]:
        """Partitions that announced every document to have its id in `epoch`, with their counts."""
        found = self._columns.items("meta", prefix=b"complete/%d/" % epoch)
        return {int(key.rpartition(b"/")[2]): rows.decode_number(value, 0) for key, value in found}

    def meta_get(self, name: str) -> str | None:
        """A small setting, as the encoder stamp or the codebook offset."""
        value = self._columns.get("meta", _SETTING + name.encode())
        return None if value is None else value.decode()

    def meta_put(self, name: str, value: str) -> None:
        self._put_meta(_SETTING + name.encode(), value.encode())

    def forget_deleted(self, *, before: float) -> int:
        """Drop what is kept of documents deleted before that time; returns how many. Counters stay."""
        candidates = [key for key, value in self._columns.items("ids") if _deleted_before(value, before)]
        mutations: Mutations[ColumnName] = Mutations()
        with self._writing:
            for key in candidates:
                value = self._columns.get("ids", key)
                if value is not None and _deleted_before(value, before):  # not published again meanwhile
                    mutations.columns["ids"][key] = None
            self._columns.write(mutations)
        return len(mutations.columns["ids"])

    def checkpoint(self, path: Path) -> dict[int, int]:
        """Copy the database to `path`, which must not exist; returns the positions that the copy has."""
        with self._writing:
            self._columns.checkpoint(path)
            return self.positions()

    def close(self) -> None:
        """Close it and give back its LOCK; it can be opened again at once. Closing twice is harmless."""
        with self._writing:
            if self._open:
                self._open = False
                self._columns.close()

    def __enter__(self) -> Shard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put_meta(self, key: bytes, value: bytes) -> None:
        mutations: Mutations[ColumnName] = Mutations()
        mutations.columns["meta"][key] = value
        with self._writing:
            self._columns.write(mutations)


class _Merged:
    """Rows in order of keys, asked for by keys in the same order."""

    def __init__(self, items: Iterator[tuple[bytes, bytes]]) -> None:
        self._items = items
        self._next = next(items, None)

    def at(self, key: bytes) -> bytes | None:
        while self._next is not None and self._next[0] < key:
            self._next = next(self._items, None)
        return self._next[1] if self._next is not None and self._next[0] == key else None


def _deleted_before(value: bytes, before: float) -> bool:
    deleted_at = StoredIds.decode(value).deleted_at
    return deleted_at is not None and deleted_at < before
