"""The constrained beam: the best leaves for a query, walking only branches with live documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from state.trie import LEAF_LEVELS, Trie

ScoreLevel = Callable[[int, NDArray[np.int64]], NDArray[np.float32]]
"""(level, prefixes) -> the score of the whole path to each prefix; NaN where it knows nothing of one."""


@dataclass(frozen=True)
class LevelCentroids:
    """Centroids of the nodes at one level: sorted packed prefixes (n,), vectors (n, d)."""

    prefixes: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class FoundLeaves:
    """Leaves, best first. `levels` has what each level added, shape (n, 3); its rows sum to `scores`."""

    leaves: NDArray[np.int64]
    scores: NDArray[np.float32]
    levels: NDArray[np.float32]


def by_geometry(centroids: Sequence[LevelCentroids], query: NDArray[np.float32]) -> ScoreLevel:
    """Score a node by the inner product of the query, shape (d,), and its centroid. Needs no training."""

    def score_level(level: int, prefixes: NDArray[np.int64]) -> NDArray[np.float32]:
        known = centroids[level]
        scores = np.full(len(prefixes), np.nan, dtype=np.float32)
        if len(known.prefixes):
            at = np.minimum(np.searchsorted(known.prefixes, prefixes), len(known.prefixes) - 1)
            found = known.prefixes[at] == prefixes
            scores[found] = known.vectors[at[found]] @ query
        return scores

    return score_level


def constrained_beam(trie: Trie, score_level: ScoreLevel, *, beam: int, leaves: int) -> FoundLeaves:
    """The best `leaves` live leaves, keeping the best `beam` nodes on the way; fewer when fewer are legal.

    A node that the scorer does not know scores as its parent, so a leaf younger than the centroids is
    found. Ties go to the lower path, so that answers repeat.
    """
    prefixes = np.zeros(1, dtype=np.int64)
    scores = np.zeros(1, dtype=np.float32)
    levels = np.zeros((1, 0), dtype=np.float32)
    for level in range(LEAF_LEVELS):
        children, parent = trie.children(level, prefixes)
        found = score_level(level, children)
        found = np.where(np.isnan(found), scores[parent], found)
        added = np.column_stack([levels[parent], found - scores[parent]])
        best = _best(children, found, keep=leaves if level == LEAF_LEVELS - 1 else beam)
        prefixes, scores, levels = children[best], found[best], added[best]
    return FoundLeaves(prefixes, scores, levels)


def _best(prefixes: NDArray[np.int64], scores: NDArray[np.float32], *, keep: int) -> NDArray[np.int64]:
    return np.lexsort((prefixes, -scores))[:keep]
