"""Texts by number and numbers by text, in flat arrays: about 24 bytes for each beside the text itself.

A dictionary of a million Python texts takes 150 MB and stops everybody while it grows. Here the UTF-8 bytes
stand one behind the other in a pool; a hash index (open addressing, linear probing) finds them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from state.compiled import compiled

NOT_FOUND = -1
_EMPTY, _DROPPED = 0, -1
"""Cells of the index; any other cell is a number + 1."""
_HASH_MASK = 2**32 - 1
_SMALLEST = 8


@dataclass(frozen=True, slots=True)
class _Arrays:
    """What readers take at once. `sizes`: bytes of a text + 1, so that 0 means none."""

    pool: memoryview
    starts: memoryview
    sizes: memoryview
    hashes: memoryview
    index: memoryview


class Texts:
    """Texts under numbers that the caller chooses, small ones best: arrays reach to the largest.

    One writer, many readers without locks: a text is in its place before it can be found, arrays grow by
    swap. A number that was dropped may be put again only when no reader can still hold it.
    """

    def __init__(self) -> None:
        self._arrays = _Arrays(
            pool=_zeros(64, np.uint8),
            starts=_zeros(_SMALLEST, np.int64),
            sizes=_zeros(_SMALLEST, np.int32),
            hashes=_zeros(_SMALLEST, np.uint32),
            index=_zeros(2 * _SMALLEST, np.int32),
        )
        self._end = 0  # of the used part of the pool
        self._garbage = 0  # bytes of dropped texts in it
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
        if not 0 <= number < len(arrays.sizes) or not arrays.sizes[number]:
            return None
        return str(_bytes_of(arrays, number), "utf-8", "surrogatepass")

    def put(self, number: int, text: str) -> None:
        """Add a text that is not there, under a number that has none."""
        encoded = _encoded(text)
        start = self._end
        end = start + len(encoded)
        arrays = self._arrays
        if end > len(arrays.pool) or number >= len(arrays.sizes) or 3 * self._cells >= 2 * len(arrays.index):
            self._make_room(number, len(encoded))
            arrays, start = self._arrays, self._end
            end = start + len(encoded)
        arrays.pool[start:end] = encoded
        arrays.starts[number] = start
        arrays.hashes[number] = hashed = hash(text) & _HASH_MASK
        arrays.sizes[number] = end - start + 1
        self._end = end
        self._count += 1
        self._enter(number, hashed)

    def drop(self, number: int) -> None:
        """Forget the text under a number; none there is no error."""
        arrays = self._arrays
        if not 0 <= number < len(arrays.sizes) or not (size := arrays.sizes[number]):
            return
        index = arrays.index
        mask = len(index) - 1
        cell = arrays.hashes[number] & mask
        while index[cell] != number + 1:
            cell = cell + 1 & mask
        index[cell] = _DROPPED
        arrays.sizes[number] = 0
        self._garbage += size - 1
        self._count -= 1

    def kept(self, numbers: NDArray[np.int64], renumbered: NDArray[np.int64]) -> Texts:
        """A copy with the texts under `numbers`, shape (n,), put under the numbers `renumbered`, shape (n,)."""
        copy = Texts()
        size = int(renumbered.max(initial=_SMALLEST - 1)) + 1
        old = self._arrays
        total = int((np.asarray(old.sizes)[numbers] - 1).sum(dtype=np.int64))
        new = _Arrays(
            pool=_zeros(max(2 * total, 64), np.uint8),
            starts=_zeros(size, np.int64),
            sizes=_zeros(size, np.int32),
            hashes=_zeros(size, np.uint32),
            index=_zeros(_index_size(len(numbers)), np.int32),
        )
        _copy(*_as_arrays(old)[:4], numbers, renumbered, *_as_arrays(new)[:4])
        _fill_index(renumbered, np.asarray(new.hashes), np.asarray(new.index))
        copy._arrays, copy._end, copy._cells, copy._count = new, total, len(numbers), len(numbers)
        return copy

    def within(self, *, at_least: str | None, at_most: str | None, prefix: str | None) -> NDArray[np.bool_]:
        """For each number whether its text is within these bounds, by code points. Shape (largest + 1,)."""
        pool, starts, sizes, _, _ = _as_arrays(self._arrays)
        bounds = [np.frombuffer(_encoded(text or ""), dtype=np.uint8) for text in (at_least, at_most, prefix)]
        accepted = np.zeros(len(sizes), dtype=np.bool_)
        _within(pool, starts, sizes, *bounds, at_most is not None, accepted)
        return accepted

    def _enter(self, number: int, hashed: int) -> None:
        index = self._arrays.index
        mask = len(index) - 1
        cell = hashed & mask
        while (entry := index[cell]) > 0:
            cell = cell + 1 & mask
        self._cells += entry == _EMPTY
        index[cell] = number + 1

    def _make_room(self, number: int, size: int) -> None:
        if self._end + size > len(self._arrays.pool) and self._garbage > self._end // 2:
            self._compact()
        arrays = self._arrays
        if self._end + size > len(arrays.pool):
            self._arrays = arrays = replace(arrays, pool=_grown(arrays.pool, self._end + size))
        if number >= len(arrays.sizes):
            self._arrays = arrays = replace(
                arrays,
                starts=_grown(arrays.starts, number + 1),
                sizes=_grown(arrays.sizes, number + 1),
                hashes=_grown(arrays.hashes, number + 1),
            )
        if 3 * self._cells >= 2 * len(arrays.index):
            index = _zeros(_index_size(self._count + 1), np.int32)
            _fill_index(self._numbers(), np.asarray(arrays.hashes), np.asarray(index))
            self._arrays, self._cells = replace(arrays, index=index), self._count

    def _compact(self) -> None:
        numbers = self._numbers()
        fresh = self.kept(numbers, numbers)
        self._arrays, self._end, self._cells = fresh._arrays, fresh._end, fresh._cells
        self._garbage = 0

    def _numbers(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.asarray(self._arrays.sizes))


def _bytes_of(arrays: _Arrays, number: int) -> memoryview:
    start = arrays.starts[number]
    return arrays.pool[start : start + arrays.sizes[number] - 1]


def _encoded(text: str) -> bytes:
    """Bytes whose order is that of the code points."""
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("utf-8", "surrogatepass")


def _zeros(size: int, dtype: type[np.generic]) -> memoryview:
    """Memory that is only taken where it is written. A memoryview reads one number in a third of the time."""
    return memoryview(np.zeros(size, dtype=dtype))


def _grown(view: memoryview, at_least: int) -> memoryview:
    old = np.asarray(view)
    larger = np.zeros(max(at_least, 2 * len(old)), dtype=old.dtype)
    larger[: len(old)] = old
    return memoryview(larger)


def _index_size(count: int) -> int:
    """A power of two, at most half full."""
    return 1 << max(2 * count - 1, 2 * _SMALLEST - 1).bit_length()


def _as_arrays(arrays: _Arrays) -> tuple[NDArray[np.generic], ...]:
    views = (arrays.pool, arrays.starts, arrays.sizes, arrays.hashes, arrays.index)
    return tuple(np.asarray(view) for view in views)


@compiled
def _copy(
    pool: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int32],
    hashes: NDArray[np.uint32],
    numbers: NDArray[np.int64],
    renumbered: NDArray[np.int64],
    new_pool: NDArray[np.uint8],
    new_starts: NDArray[np.int64],
    new_sizes: NDArray[np.int32],
    new_hashes: NDArray[np.uint32],
) -> None:
    end = 0
    for i in range(len(numbers)):
        old, new = numbers[i], renumbered[i]
        length = sizes[old] - 1
        for j in range(length):
            new_pool[end + j] = pool[starts[old] + j]
        new_starts[new] = end
        new_sizes[new] = sizes[old]
        new_hashes[new] = hashes[old]
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
def _begins(pool: NDArray[np.uint8], start: int, prefix: NDArray[np.uint8]) -> bool:
    """Backwards: texts of one field are most alike in how they begin."""
    for i in range(len(prefix) - 1, -1, -1):
        if pool[start + i] != prefix[i]:
            return False
    return True


@compiled
def _compare(pool: NDArray[np.uint8], start: int, length: int, bound: NDArray[np.uint8]) -> int:
    """Below, at or above the bound: negative, 0, positive."""
    for i in range(min(length, len(bound))):
        if pool[start + i] != bound[i]:
            return int(pool[start + i]) - int(bound[i])
    return length - len(bound)


@compiled
def _within(
    pool: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int32],
    at_least: NDArray[np.uint8],
    at_most: NDArray[np.uint8],
    prefix: NDArray[np.uint8],
    has_most: bool,
    accepted: NDArray[np.bool_],
) -> None:
    for number in range(len(sizes)):
        length = sizes[number] - 1
        if length < len(prefix):
            continue
        start = starts[number]
        accepted[number] = (
            _begins(pool, start, prefix)
            and _compare(pool, start, length, at_least) >= 0
            and not (has_most and _compare(pool, start, length, at_most) > 0)
        )
