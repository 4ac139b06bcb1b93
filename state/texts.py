"""Texts by number and numbers by text, in flat arrays: about 24 bytes for each beside the text itself.

A dictionary of a million Python texts takes 150 MB and stops everybody while it grows. Here the UTF-8 bytes
stand one behind the other in a pool; a hash index (open addressing, linear probing) finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.archives import Archive
from state.compiled import compiled

NOT_FOUND = -1
_EMPTY, _DROPPED = 0, -1
"""Cells of the index; any other cell is a number + 1."""
_HASH_MASK = 2**32 - 1
_SMALLEST = 8
_Bytes = NDArray[np.uint8]
_Columns = tuple[_Bytes, NDArray[np.int64], NDArray[np.int32], NDArray[np.uint32]]


@dataclass(frozen=True, slots=True)
class _Arrays:
    """What readers take at once. `sizes`: bytes of a text + 1, so that 0 means none."""

    pool: memoryview
    starts: memoryview
    sizes: memoryview
    hashes: memoryview
    index: memoryview

    @classmethod
    def for_room(cls, *, pool: int, numbers: int, texts: int) -> _Arrays:
        """Memory that is only taken where it is written. A memoryview reads a number at a third of the cost."""
        # A power of two, at most half full; so many at least that the next text finds an empty one.
        cells = 1 << max(2 * texts - 1, _SMALLEST).bit_length()
        return cls(
            pool=np.zeros(pool, dtype=np.uint8).data,
            starts=np.zeros(numbers, dtype=np.int64).data,
            sizes=np.zeros(numbers, dtype=np.int32).data,
            hashes=np.zeros(numbers, dtype=np.uint32).data,
            index=np.zeros(cells, dtype=np.int32).data,
        )

    def columns(self) -> _Columns:
        """Pool, starts, sizes and hashes as arrays."""
        views = (self.pool, self.starts, self.sizes, self.hashes)
        pool, starts, sizes, hashes = (np.asarray(view) for view in views)
        return pool, starts, sizes, hashes


class Texts:
    """Texts under numbers that the caller chooses, small ones best: arrays reach to the largest.

    One writer, many readers without locks: a text is in its place before it can be found, and all arrays
    are swapped together when one is full. A number that was dropped may be put again only when no reader can
    still hold it.
    """

    def __init__(self) -> None:
        self._arrays = _Arrays.for_room(pool=64, numbers=_SMALLEST, texts=_SMALLEST)
        self._end = 0  # of the used part of the pool
        self._cells = 0  # of the index that are not empty
        self._count = 0

    def __len__(self) -> int:
        """How many texts there are."""
        return self._count

    def find(self, text: str) -> int:
        """The number of a text, or NOT_FOUND."""
        arrays = self._arrays
        hashed = hash(text) & _HASH_MASK
        index, hashes = arrays.index, arrays.hashes
        mask = len(index) - 1
        cell = hashed & mask
        while (entry := index[cell]) != _EMPTY:
            if entry > 0 and hashes[entry - 1] == hashed and _bytes_of(arrays, entry - 1) == _encoded(text):
                return entry - 1
            cell = cell + 1 & mask
        return NOT_FOUND

    def text(self, number: int) -> str | None:
        """The text under a number, or None."""
        arrays = self._arrays
        size = arrays.sizes[number] if 0 <= number < len(arrays.sizes) else 0
        if not size:
            return None
        start = arrays.starts[number]
        return str(arrays.pool[start : start + size - 1], "utf-8", "surrogatepass")

    def put(self, number: int, text: str) -> None:
        """Add a text that is not there, under a number that has none."""
        encoded = _encoded(text)
        end = self._end + len(encoded)
        arrays = self._arrays
        if end > len(arrays.pool) or number >= len(arrays.sizes) or 3 * self._cells >= 2 * len(arrays.index):
            arrays = self._make_room(number, len(encoded))
            end = self._end + len(encoded)
        arrays.pool[self._end : end] = encoded
        arrays.starts[number] = self._end
        arrays.hashes[number] = hashed = hash(text) & _HASH_MASK
        arrays.sizes[number] = len(encoded) + 1
        index = arrays.index
        mask = len(index) - 1
        cell = hashed & mask
        while (entry := index[cell]) > 0:
            cell = cell + 1 & mask
        index[cell] = number + 1
        self._cells += entry == _EMPTY
        self._end = end
        self._count += 1

    def drop(self, number: int) -> None:
        """Forget the text under a number; none there is no error."""
        arrays = self._arrays
        if not 0 <= number < len(arrays.sizes) or not arrays.sizes[number]:
            return
        index = arrays.index
        mask = len(index) - 1
        cell = arrays.hashes[number] & mask
        while index[cell] != number + 1:
            cell = cell + 1 & mask
        index[cell] = _DROPPED
        arrays.sizes[number] = 0
        self._count -= 1

    def kept(self, numbers: NDArray[np.int64], renumbered: NDArray[np.int64]) -> Texts:
        """A copy with the texts under `numbers`, shape (n,), put under the numbers `renumbered`, shape (n,)."""
        copy = Texts()
        copy._copy_from(self._arrays, numbers, renumbered, room=int(renumbered.max(initial=0)) + 1, more=0)
        return copy

    def dump(self) -> dict[str, NDArray[Any]]:
        """All texts as arrays of their own: numbers, bytes of each, and the bytes."""
        numbers = self.numbers()
        kept = self.kept(numbers, np.arange(len(numbers)))
        sizes = np.asarray(kept._arrays.sizes)[: len(numbers)] - 1
        pool = np.asarray(kept._arrays.pool)[: kept._end]
        return {"numbers": numbers.astype(np.int32), "sizes": sizes, "pool": pool}

    @classmethod
    def restored(cls, arrays: Archive) -> Texts:
        """The inverse of `dump`."""
        numbers, sizes, pool = arrays["numbers"].astype(np.int64), arrays["sizes"], arrays["pool"]
        ends = np.cumsum(sizes, dtype=np.int64)
        starts = ends - sizes
        made, room = cls(), int(numbers.max(initial=0)) + 1
        new = _Arrays.for_room(pool=2 * len(pool) + 64, numbers=room, texts=len(numbers) + 1)
        columns = new.columns()
        columns[0][: len(pool)] = pool
        columns[1][numbers] = starts
        columns[2][numbers] = sizes + 1
        # Hashes of texts differ from process to process.
        data = pool.tobytes()
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        hashes = (hash(data[start:end].decode("utf-8", "surrogatepass")) & _HASH_MASK for start, end in pairs)
        columns[3][numbers] = np.fromiter(hashes, dtype=np.uint32, count=len(numbers))
        _fill_index(numbers, columns[3], np.asarray(new.index))
        made._arrays, made._end, made._cells, made._count = new, len(pool), len(numbers), len(numbers)
        return made

    def numbers(self) -> NDArray[np.int64]:
        """The numbers that have a text, ascending."""
        return np.flatnonzero(np.asarray(self._arrays.sizes))

    def within(self, *, at_least: str | None, at_most: str | None, prefix: str | None) -> NDArray[np.bool_]:
        """For each number whether its text is within these bounds, by code points. Shape (largest + 1,)."""
        columns = self._arrays.columns()
        low, high, begin = (
            np.frombuffer(_encoded(text or ""), dtype=np.uint8) for text in (at_least, at_most, prefix)
        )
        accepted = np.zeros(len(columns[2]), dtype=np.bool_)
        _within(columns, low, high, begin, at_most is not None, accepted)
        return accepted

    def _make_room(self, number: int, size: int) -> _Arrays:
        """Swap all arrays for larger ones without dropped texts: who reads the old ones sees them at rest."""
        room = len(self._arrays.sizes)
        room = room if number < room else max(number + 1, 2 * room)
        live = np.flatnonzero(np.asarray(self._arrays.sizes))
        self._copy_from(self._arrays, live, live, room=room, more=size)
        return self._arrays

    def _copy_from(
        self,
        old: _Arrays,
        numbers: NDArray[np.int64],
        renumbered: NDArray[np.int64],
        *,
        room: int,
        more: int,
    ) -> None:
        used = int((np.asarray(old.sizes)[numbers] - 1).sum(dtype=np.int64))
        new = _Arrays.for_room(pool=2 * used + more + 64, numbers=room, texts=len(numbers) + 1)
        _copy(old.columns(), numbers, renumbered, new.columns())
        _fill_index(renumbered, np.asarray(new.hashes), np.asarray(new.index))
        self._arrays, self._end, self._cells, self._count = new, used, len(numbers), len(numbers)


def _bytes_of(arrays: _Arrays, number: int) -> memoryview:
    start = arrays.starts[number]
    return arrays.pool[start : start + arrays.sizes[number] - 1]


def _encoded(text: str) -> bytes:
    """Bytes whose order is that of the code points."""
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("utf-8", "surrogatepass")


@compiled
def _copy(old: _Columns, numbers: NDArray[np.int64], renumbered: NDArray[np.int64], new: _Columns) -> None:
    pool, starts, sizes, hashes = old
    new_pool, new_starts, new_sizes, new_hashes = new
    end = 0
    for i in range(len(numbers)):
        source, target = numbers[i], renumbered[i]
        length = sizes[source] - 1
        for j in range(length):
            new_pool[end + j] = pool[starts[source] + j]
        new_starts[target] = end
        new_sizes[target] = sizes[source]
        new_hashes[target] = hashes[source]
        end += length


@compiled
def _fill_index(numbers: NDArray[np.int64], hashes: NDArray[np.uint32], index: NDArray[np.int32]) -> None:
    mask = len(index) - 1
    for number in numbers:
        cell = np.int64(hashes[number]) & mask
        while index[cell] != 0:
            cell = (cell + 1) & mask
        index[cell] = number + 1


@compiled
def _begins(pool: _Bytes, start: int, prefix: _Bytes) -> bool:
    """Looked at backwards: texts of one field are most alike in how they begin."""
    for i in range(len(prefix) - 1, -1, -1):  # noqa: SIM110 — compiled
        if pool[start + i] != prefix[i]:
            return False
    return True


@compiled
def _order(pool: _Bytes, start: int, length: int, bound: _Bytes) -> int:
    """-1 below, 0 at, 1 above the bound."""
    for i in range(min(length, len(bound))):
        if pool[start + i] != bound[i]:
            return 1 if pool[start + i] > bound[i] else -1
    return (length > len(bound)) - (length < len(bound))


@compiled
def _within(
    texts: _Columns, low: _Bytes, high: _Bytes, prefix: _Bytes, has_most: bool, accepted: NDArray[np.bool_]
) -> None:
    pool, starts, sizes, _ = texts
    for number in range(len(sizes)):
        length = sizes[number] - 1
        if length >= len(prefix) and _begins(pool, starts[number], prefix):
            accepted[number] = _order(pool, starts[number], length, low) >= 0 and not (
                has_most and _order(pool, starts[number], length, high) > 0
            )
