"""Many growing lists of 64-bit numbers in one pool: children of trie nodes, postings of leaves.

One writer, any number of readers without locks. A list is an extent of the pool whose length is raised after
the new entry is in place. An entry leaves a list by a new extent; the old one is used again when no reader
can hold it. When an array has to grow, all are copied, so that a reader's view never changes under it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, observe, publish
from state.readers import Readers, Retired

Numbers = NDArray[np.int64]
T = TypeVar("T", bound=np.generic)

COUNT_BITS = 24
"""An extent is one number, read and written at once: offset << 24 | number of entries."""
COUNT_MASK = (1 << COUNT_BITS) - 1
_CLASSES = 32
_NO_EXTENT = -1
_RETIRED_AT_ONCE = 4_096
_USED, _LARGEST, _RETIRED = 0, 1, 2
"""Places in `counters`: pool entries handed out, the largest class so far, length of `retired`."""


class Arrays(NamedTuple):
    """What the compiled functions work on. Readers use `extents` and `pool` alone."""

    extents: Numbers
    pool: Numbers
    classes: NDArray[np.int8]
    """By list: the extent has room for 1 << class entries; -1 without an extent."""
    free: Numbers
    """By class: the first free extent, linked through its first entry."""
    retired: Numbers
    counters: Numbers


class Lists:
    """`count` lists, empty at first. Use `arrays` inside of compiled functions."""

    def __init__(self, readers: Readers, *, lists: int = 64, pool: int = 1024) -> None:
        self.arrays = Arrays(
            extents=np.zeros(lists, dtype=np.int64),
            pool=np.empty(pool, dtype=np.int64),
            classes=np.full(lists, _NO_EXTENT, dtype=np.int8),
            free=np.full(_CLASSES, _NO_EXTENT, dtype=np.int64),
            retired=np.empty(_RETIRED_AT_ONCE, dtype=np.int64),
            counters=np.zeros(3, dtype=np.int64),
        )
        self._retired: Retired[Numbers] = Retired(readers)

    def get(self, number: int) -> Numbers:
        """A copy of one list."""
        arrays = self.arrays
        extent = int(arrays.extents[number])
        offset = extent >> COUNT_BITS
        return arrays.pool[offset : offset + (extent & COUNT_MASK)].copy()

    def collect(self) -> None:
        """Take back what no reader can hold. Called by the writer between two steps."""
        counters = self.arrays.counters
        if counters[_RETIRED]:
            self._retired.add(self.arrays.retired[: counters[_RETIRED]].copy())
            counters[_RETIRED] = 0
        for extents in self._retired.free():
            release(self.arrays, extents)

    def make_room(self, *, lists: int, steps: int = 1) -> None:
        """Make sure that there are `lists` lists, and room for `steps` more appends or removals."""
        self.collect()
        old = self.arrays
        if lists <= len(old.extents) and has_room(old, steps):
            return
        room = len(old.extents)
        while room < lists:
            room *= 2
        pool = len(old.pool)
        while pool < int(old.counters[_USED]) + (steps << int(old.counters[_LARGEST]) + 1):
            pool *= 2
        self.arrays = Arrays(
            extents=grown(old.extents, room, 0),
            pool=grown(old.pool, pool, None),
            classes=grown(old.classes, room, _NO_EXTENT),
            free=old.free,
            retired=np.empty(max(len(old.retired), steps), dtype=np.int64),
            counters=old.counters,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory that hold something."""
        arrays = self.arrays
        return int(arrays.extents.nbytes + arrays.classes.nbytes + 8 * arrays.counters[_USED])


def grown(array: NDArray[T], size: int, fill: int | None) -> NDArray[T]:
    """A copy with `size` rows, the new ones `fill` or anything. Untouched memory costs nothing yet."""
    larger = np.empty((size, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    if fill is not None:
        larger[len(array) :] = fill
    return larger


@compiled
def has_room(arrays: Arrays, steps: Scalar) -> Scalar:
    """True when `steps` more appends or removals are sure to find room."""
    largest = 1 << (arrays.counters[1] + 1)
    return arrays.counters[0] + steps * largest <= len(arrays.pool) and arrays.counters[2] + steps <= len(
        arrays.retired
    )


@compiled
def append(arrays: Arrays, number: Scalar, value: Scalar) -> None:
    """Add one entry. `has_room` must have said yes."""
    extent = arrays.extents[number]
    offset, count = extent >> COUNT_BITS, extent & COUNT_MASK
    of_class = arrays.classes[number]
    if of_class >= 0 and count < 1 << of_class:
        arrays.pool[offset + count] = value
        publish(arrays.extents, number, extent + 1)
        return
    room = _allocate(arrays, of_class + 1)
    for i in range(count):
        arrays.pool[room + i] = arrays.pool[offset + i]
    arrays.pool[room + count] = value
    arrays.classes[number] = of_class + 1
    publish(arrays.extents, number, room << COUNT_BITS | count + 1)
    _retire(arrays, offset, of_class)


@compiled
def remove_at(arrays: Arrays, number: Scalar, position: Scalar) -> None:
    """Take out the entry at `position`; the order of the others stays. `has_room` must have said yes."""
    extent = arrays.extents[number]
    offset, count = extent >> COUNT_BITS, extent & COUNT_MASK
    of_class = arrays.classes[number]
    if count == 1:
        arrays.classes[number] = -1
        publish(arrays.extents, number, 0)
        _retire(arrays, offset, of_class)
        return
    new_class = of_class - 1 if count - 1 <= 1 << of_class >> 2 else of_class
    room = _allocate(arrays, new_class)
    for i in range(position):
        arrays.pool[room + i] = arrays.pool[offset + i]
    for i in range(position + 1, count):
        arrays.pool[room + i - 1] = arrays.pool[offset + i]
    arrays.classes[number] = new_class
    publish(arrays.extents, number, room << COUNT_BITS | count - 1)
    _retire(arrays, offset, of_class)


@compiled
def find(arrays: Arrays, number: Scalar, value: Scalar, shift: Scalar) -> Scalar:
    """The position of the first entry that is `value` after its lower `shift` bits are dropped, or -1."""
    extent = observe(arrays.extents, number)
    offset = extent >> COUNT_BITS
    for i in range(extent & COUNT_MASK):
        if arrays.pool[offset + i] >> shift == value:
            return i
    return -1


@compiled
def release(arrays: Arrays, extents: Numbers) -> None:
    """Put retired extents where `_allocate` finds them."""
    for entry in extents:
        offset, of_class = entry >> 6, entry & 63
        arrays.pool[offset] = arrays.free[of_class]
        arrays.free[of_class] = offset


@compiled
def _allocate(arrays: Arrays, of_class: Scalar) -> Scalar:
    offset = arrays.free[of_class]
    if offset >= 0:
        arrays.free[of_class] = arrays.pool[offset]
        return offset
    offset = arrays.counters[0]
    arrays.counters[0] = offset + (1 << of_class)
    arrays.counters[1] = max(arrays.counters[1], of_class)
    return offset


@compiled
def _retire(arrays: Arrays, offset: Scalar, of_class: Scalar) -> None:
    if of_class >= 0:
        arrays.retired[arrays.counters[2]] = offset << 6 | of_class
        arrays.counters[2] += 1
