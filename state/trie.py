"""The in-memory trie of one epoch: live leaves and the document slots in each.

Only leaves are kept, as sorted packed paths; the levels above follow from them, so that a branch without
live documents does not exist. One writer; callers hold the lock of the live index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from streams.semantic_id import CLUSTER_BITS, INSTANCE_BITS, LEVEL_SIZES, SUBCATEGORY_BITS

LEAF_LEVELS = 3
LEVEL_SHIFTS = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)
"""By how many bits a packed leaf is shifted to give its prefix at each level."""
_TOKEN_BITS = (LEVEL_SHIFTS[0], SUBCATEGORY_BITS, CLUSTER_BITS)


class Trie:
    """Leaves (packed, 24 bits) with the slots of their live documents."""

    def __init__(self) -> None:
        self._slots: dict[int, BitMap] = {}
        self._levels: tuple[NDArray[np.int64], ...] | None = None

    def add(self, leaf: int, slot: int) -> None:
        """Put a document into a leaf."""
        slots = self._slots.get(leaf)
        if slots is None:
            self._slots[leaf] = BitMap([slot])
            self._levels = None
        else:
            slots.add(slot)

    def remove(self, leaf: int, slot: int) -> None:
        """Take a document out; a leaf without documents is gone at once."""
        slots = self._slots[leaf]
        slots.remove(slot)
        if not slots:
            del self._slots[leaf]
            self._levels = None

    def live(self, level: int) -> NDArray[np.int64]:
        """Packed prefixes with live documents at level 0, 1 or 2 (leaves), sorted."""
        if self._levels is None:
            leaves = np.fromiter(self._slots, dtype=np.int64, count=len(self._slots))
            leaves.sort()
            self._levels = tuple(np.unique(leaves >> shift) for shift in LEVEL_SHIFTS)
        return self._levels[level]

    def children(self, level: int, parents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Live prefixes at `level` below `parents` (prefixes one level up; ignored at level 0).

        Returns them, shape (n,), and for each the position of its parent in `parents`.
        """
        nodes = self.live(level)
        if level == 0:
            return nodes, np.zeros(len(nodes), dtype=np.int64)
        first = np.searchsorted(nodes, parents << _TOKEN_BITS[level])
        counts = np.searchsorted(nodes, parents + 1 << _TOKEN_BITS[level]) - first
        owner = np.repeat(np.arange(len(parents)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return nodes[first[owner] + within], owner

    def slots(self, leaves: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots of all documents in these leaves, sorted; a leaf that is not live has none."""
        found = [self._slots[leaf] for leaf in np.asarray(leaves).tolist() if leaf in self._slots]
        return (
            np.frombuffer(BitMap.union(*found).to_array(), dtype=np.uint32).astype(np.int64)
            if found
            else _NONE
        )

    def below(self, prefix: Sequence[int]) -> BitMap:
        """Slots of all documents below one to three codes of a path."""
        packed = 0
        for number, size in zip(prefix, LEVEL_SIZES, strict=False):
            packed = packed * size + number
        shift = LEVEL_SHIFTS[len(prefix) - 1]
        leaves = self.live(LEAF_LEVELS - 1)
        first, last = np.searchsorted(leaves, [packed << shift, packed + 1 << shift])
        return BitMap.union(BitMap(), *(self._slots[leaf] for leaf in leaves[first:last].tolist()))

    def size_of(self, leaf: int) -> int:
        """How many live documents a leaf has."""
        slots = self._slots.get(leaf)
        return 0 if slots is None else len(slots)

    def __len__(self) -> int:
        """How many leaves are live."""
        return len(self._slots)


_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


def leaf_of(packed_id: int) -> int:
    """The packed leaf of a packed semantic id."""
    return packed_id >> INSTANCE_BITS
