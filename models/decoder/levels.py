"""The three levels of a tree as flat arrays: which nodes there are, and who is whose child."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.semantic_id import CLUSTER_BITS, SUBCATEGORY_BITS

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

BITS_BELOW = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)
"""What a prefix of each level (category, subcategory, leaf) drops of a packed leaf code."""
LEVELS = len(BITS_BELOW)


@dataclass(frozen=True)
class Level:
    """The m nodes of one level in ascending order, so that siblings stand side by side.

    prefixes: packed, int64 (m,). parents: the row of each one's parent in the level above, int64 (m,); zeros at
    the top. starts: where each of the p parents' children begin, and m at the end, int64 (p + 1,).
    """

    prefixes: Codes
    parents: Codes
    starts: Codes

    @property
    def counts(self) -> Codes:
        """How many children each parent has, (p,)."""
        return np.diff(self.starts)


def tree_levels(leaves: Codes) -> tuple[Level, ...]:
    """The levels of the tree that has these leaves: packed codes, int64 (L,), ascending, each once."""
    levels: list[Level] = []
    above = np.zeros(1, dtype=np.int64)
    for level, bits in enumerate(BITS_BELOW):
        prefixes = np.unique(leaves >> bits)
        parents_code = prefixes >> (BITS_BELOW[level - 1] - bits) if level else np.zeros_like(prefixes)
        starts = np.append(np.searchsorted(parents_code, above), len(prefixes))
        levels.append(Level(prefixes, np.searchsorted(above, parents_code), starts))
        above = prefixes
    return tuple(levels)


def level_centroids(levels: tuple[Level, ...], leaves: Codes, centroids: Floats) -> tuple[Floats, ...]:
    """The mean of the leaf centroids (L, d) under each node: one (m, d) a level, that of leaves is the input."""
    found = []
    for level, bits in zip(levels, BITS_BELOW, strict=True):
        first = np.searchsorted(leaves >> bits, level.prefixes)
        counts = np.diff(np.append(first, len(leaves)))
        found.append((np.add.reduceat(centroids, first, axis=0) / counts[:, None]).astype(np.float32))
    return tuple(found)


def rows_of(codes: Codes, known: Codes) -> Codes:
    """The row of each code, of any shape, in the ascending `known`; -1 where it is not there."""
    if len(known) == 0:
        return np.full(codes.shape, -1, dtype=np.int64)
    rows = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[rows] == codes, rows, -1)
