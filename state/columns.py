"""Opening and closing one RocksDB with our column families, in raw mode (bytes only, nothing is pickled)."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    Checkpoint,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from streams.errors import StateError
from streams.settings import MIB

Name = TypeVar("Name", bound=str)
"""The names of the column families."""
_CHUNK = 256
_REWRITE_ALL = CompactOptions()
"""Files of deletes alone are not only moved: they hold keys."""
_REWRITE_ALL.set_bottommost_level_compaction(BottommostLevelCompaction.force())


class ShardLockedError(StateError):
    """The shard is open elsewhere. An owner that is just leaving lets go of it in a moment."""


class SharedMemory:
    """One block cache and one budget of write buffers for all shards of a process (bytes)."""

    def __init__(self, *, cache: int = 64 * MIB, write_buffers: int = 64 * MIB) -> None:
        self.cache = Cache(cache)
        self.write_buffers = WriteBufferManager(write_buffers, False)


@dataclass(slots=True)
class Mutations(Generic[Name]):
    """What is to be written at once: for each column family key -> value, None deletes."""

    columns: defaultdict[Name, dict[bytes, bytes | None]] = field(default_factory=lambda: defaultdict(dict))


class Columns(Generic[Name]):
    """The open column families. One writer; several readers. Whoever opens it closes it."""

    def __init__(
        self,
        path: Path,
        names: Collection[Name],
        *,
        uncompressed: Collection[Name] = (),
        memory: SharedMemory | None = None,
        sync: bool = False,
    ) -> None:
        """`uncompressed`: families of what does not compress, as 16-bit vectors."""
        self._path = path
        memory = memory or SharedMemory(cache=8 * MIB, write_buffers=16 * MIB)
        families = {name: _options(memory, compressed=name not in uncompressed) for name in names}
        try:
            self._db = Rdict(str(path), _options(memory), column_families=families)
        except Exception as error:
            raise _explained(path, str(error)) from error
        self._columns: dict[Name, Any] = {name: self._db.get_column_family(name) for name in names}
        self._handles = {name: self._db.get_column_family_handle(name) for name in names}
        self._write_options = WriteOptions()
        self._write_options.sync = sync

    def get(self, column: Name, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        return self.get_all(column, [key])[0]

    def get_all(self, column: Name, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, or None. Other threads run meanwhile: rocksdict lets them only for lists."""
        try:
            values: list[bytes | None] = self._columns[column].get(list(keys))
        except Exception as error:
            raise self._failed(error) from error
        return values

    def items(self, column: Name, *, start: bytes = b"", prefix: bytes = b"") -> Iterator[_Item]:
        """Rows with `prefix` in order of keys, from `start` (inclusive) on.

        Read in chunks, each from a view of its own: a writer goes on meanwhile, and a loop that is left
        half way holds nothing open.
        """
        start = max(start, prefix)
        while chunk := self._chunk(column, start):
            for key, value in chunk:
                if not key.startswith(prefix):
                    return
                yield key, value
            start = chunk[-1][0] + b"\x00"

    def _chunk(self, column: Name, start: bytes) -> list[_Item]:
        try:
            return list(islice(self._columns[column].items(from_key=start), _CHUNK))
        except Exception as error:
            raise self._failed(error) from error

    def write(self, mutations: Mutations[Name]) -> None:
        """Write all of it, or nothing (also when the process is killed)."""
        batch = WriteBatch(raw_mode=True)
        try:
            self._fill(batch, mutations)
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise self._failed(error) from error

    def _fill(self, batch: Any, mutations: Mutations[Name]) -> None:
        for column, rows in mutations.columns.items():
            handle = self._handles[column]
            for key, value in rows.items():
                if value is None:
                    batch.delete(key, handle)
                else:
                    batch.put(key, value, handle)

    def checkpoint(self, path: Path) -> None:
        """Make a copy at `path`, which must not exist (hard links where the file system has them)."""
        Checkpoint(self._db).create_checkpoint(str(path))

    def compact(self) -> None:
        """Rewrite all files, so that nothing of what was deleted or overwritten is left in them."""
        try:
            for column in self._columns.values():
                column.flush(True)
                column.compact_range(None, None, _REWRITE_ALL)
            # The manifest names keys of the files that each change gave up: one more change, and they are gone too.
            self._db[b"compacted"] = b""
            self._db.flush(True)
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Give back the LOCK file. It is held while any column family object lives, so these go first."""
        for column in self._columns.values():
            column.close()
        self._columns.clear()
        self._handles.clear()
        self._db.close()
        del self._db
        gc.collect()

    def _failed(self, error: Exception) -> StateError:
        if not self._columns:
            return StateError(f"{self._path} is closed")
        return _explained(self._path, str(error))


class Overlay(Generic[Name]):
    """Changes over the rows of an open database, seen before they are written; `mutations` is their sum."""

    def __init__(self, columns: Columns[Name]) -> None:
        self.mutations: Mutations[Name] = Mutations()
        self._columns = columns
        self._read: defaultdict[Name, dict[bytes, bytes | None]] = defaultdict(dict)

    def get(self, column: Name, key: bytes) -> bytes | None:
        """The value of a key, changed or not; None when there is none."""
        changed, read = self.mutations.columns[column], self._read[column]
        if key in changed:
            return changed[key]
        if key not in read:
            read[key] = self._columns.get(column, key)
        return read[key]

    def stored(self, column: Name) -> Iterator[_Item]:
        """All rows in order of keys, changes left out."""
        return self._columns.items(column)

    def read_ahead(self, column: Name, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read keys together, changes left out: a read costs more than a row."""
        found = self._columns.get_all(column, keys) if keys else []
        self._read[column].update(zip(keys, found, strict=True))
        return found

    def put(self, column: Name, key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes."""
        self.mutations.columns[column][key] = value


_Item = tuple[bytes, bytes]


def _options(memory: SharedMemory, *, compressed: bool = True) -> Any:
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    table.set_bloom_filter(10, False)
    table.set_cache_index_and_filter_blocks(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_manager(memory.write_buffers)
    options.set_keep_log_file_num(2)
    options.set_max_manifest_file_size(
        1
    )  # written anew with each change of files: none stays in it for years
    options.set_compression_type(DBCompressionType.lz4() if compressed else DBCompressionType.none())
    return options


def _explained(path: Path, reason: str) -> StateError:
    if "/LOCK: " in reason:
        return ShardLockedError(
            f"{path} is open in another worker: stop that one, or give each its own data folder ({reason})"
        )
    return StateError(f"{path} cannot be read: delete the folder, it is rebuilt from the log ({reason})")
