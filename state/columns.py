"""Opening and closing one RocksDB with our column families, in raw mode (bytes only, nothing is pickled)."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rocksdict import (
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from streams.errors import StateError
from streams.settings import MIB

ColumnName = Literal["meta", "ids", "by_id", "docs", "vectors", "trie"]
COLUMN_NAMES: tuple[ColumnName, ...] = ("meta", "ids", "by_id", "docs", "vectors", "trie")
_CHUNK = 256
# f16 vectors do not compress; all else does.
_UNCOMPRESSED: frozenset[ColumnName] = frozenset({"vectors"})


class ShardLockedError(StateError):
    """The shard is open elsewhere. An owner that is just leaving lets go of it in a moment."""


class SharedMemory:
    """One block cache and one budget of write buffers for all shards of a process (bytes)."""

    def __init__(self, *, cache: int = 64 * MIB, write_buffers: int = 64 * MIB) -> None:
        self.cache = Cache(cache)
        self.write_buffers = WriteBufferManager(write_buffers, False)


@dataclass(slots=True)
class Mutations:
    """What is to be written at once: for each column family key -> value, None deletes."""

    columns: dict[ColumnName, dict[bytes, bytes | None]] = field(
        default_factory=lambda: {name: {} for name in COLUMN_NAMES}
    )


class Columns:
    """The open column families. One writer; several readers. Whoever opens it closes it."""

    def __init__(self, path: Path, *, memory: SharedMemory | None = None, sync: bool = False) -> None:
        self._path = path
        memory = memory or SharedMemory(cache=8 * MIB, write_buffers=16 * MIB)
        families = {name: _options(memory, name) for name in COLUMN_NAMES}
        try:
            self._db = Rdict(str(path), _options(memory, None), column_families=families)
        except Exception as error:
            raise _explained(path, str(error)) from error
        self._columns: dict[ColumnName, Any] = {n: self._db.get_column_family(n) for n in COLUMN_NAMES}
        self._handles = {name: self._db.get_column_family_handle(name) for name in COLUMN_NAMES}
        self._write_options = WriteOptions()
        self._write_options.sync = sync

    def get(self, column: ColumnName, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        return self.get_all(column, [key])[0]

    def get_all(self, column: ColumnName, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value of each key, or None. Other threads run meanwhile: rocksdict lets them only for lists."""
        try:
            values: list[bytes | None] = self._columns[column].get(list(keys))
        except Exception as error:
            raise self._failed(error) from error
        return values

    def items(self, column: ColumnName, *, start: bytes = b"", prefix: bytes = b"") -> Iterator[_Item]:
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

    def _chunk(self, column: ColumnName, start: bytes) -> list[_Item]:
        try:
            return list(islice(self._columns[column].items(from_key=start), _CHUNK))
        except Exception as error:
            raise self._failed(error) from error

    def write(self, mutations: Mutations) -> None:
        """Write all of it, or nothing (also when the process is killed)."""
        batch = WriteBatch(raw_mode=True)
        try:
            self._fill(batch, mutations)
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise self._failed(error) from error

    def _fill(self, batch: Any, mutations: Mutations) -> None:
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


_Item = tuple[bytes, bytes]


def _options(memory: SharedMemory, column: ColumnName | None) -> Any:
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
    compression = DBCompressionType.none() if column in _UNCOMPRESSED else DBCompressionType.lz4()
    options.set_compression_type(compression)
    return options


def _explained(path: Path, reason: str) -> StateError:
    if "/LOCK: " in reason:
        return ShardLockedError(
            f"{path} is open in another worker: stop that one, or give each its own data folder ({reason})"
        )
    return StateError(f"{path} cannot be read: delete the folder, it is rebuilt from the log ({reason})")
