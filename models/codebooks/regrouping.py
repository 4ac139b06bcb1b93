"""How subcategories are kept: leaves go where they are near, far ones found their own, wide ones are cut.

The subcategory is a part of a leaf's code, so a leaf that changes it is born again under a new code, with all its
documents. This bounds what a search by subcategories looks at; it buys no recall.
"""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from models.codebooks.arrays import Vectors
from models.codebooks.codes import FreeCodes
from models.codebooks.fit import most_children
from models.codebooks.growth import Decision, Members
from models.codebooks.halves import halves
from models.codebooks.tree import Codebook, LeafChange
from streams.semantic_id import CLUSTER_BITS, SUBCATEGORY_BITS

NEARER = 0.85
"""A leaf changes its subcategory when another one is nearer by 15 % (squared distance)."""
FAR = 3.0
"""A leaf this many times farther from every subcategory than the average leaf founds one."""

Prefixes = NDArray[np.int64]


def regroup(book: Codebook, members: Members) -> Decision | None:
    """Give leaves that stand in the wrong subcategory a code in the right one. None: all stand right."""
    codes = FreeCodes.of(book)
    plan = _Plan(book, codes)
    plan.move_near()
    plan.found()
    plan.cut()
    born = {}
    for row in np.flatnonzero(plan.prefixes != book.leaves >> CLUSTER_BITS).tolist():
        code = codes.leaf(int(plan.prefixes[row]))
        if code is not None:
            born[row] = code
    return _renamed(book, born, members) if born else None


class _Plan:
    """The subcategory that each leaf is to have: `prefixes` (L,), in the order of the tree's leaves."""

    def __init__(self, book: Codebook, codes: FreeCodes) -> None:
        self.prefixes: Prefixes = book.leaves >> CLUSTER_BITS
        self._centroids = book.centroids
        self._codes = codes
        known, means = book.level(CLUSTER_BITS)
        distances, rows = faiss.knn(book.centroids, means, 1)
        self._nearest: Prefixes = known[rows[:, 0]]
        self._distances: Vectors = distances[:, 0]
        away = book.centroids - means[np.searchsorted(known, self.prefixes)]
        self._own: Vectors = np.einsum("ld,ld->l", away, away)

    def move_near(self) -> None:
        for row in np.flatnonzero(self._distances < NEARER * self._own).tolist():
            if not self._alone(row):
                self.prefixes[row] = self._nearest[row]

    def found(self) -> None:
        average = self._distances.mean()
        founders: list[int] = []
        for row in np.flatnonzero(self._distances > FAR * average).tolist():
            if self._alone(row):
                continue
            near = [f for f in founders if _squared(self._centroids[f] - self._centroids[row]) < average]
            prefix = self.prefixes[near[0]] if near else self._codes.subcategory(self._category(row))
            if prefix is not None:
                self.prefixes[row] = prefix
                founders += [] if near else [row]

    def cut(self) -> None:
        prefixes, counts = np.unique(self.prefixes, return_counts=True)
        for prefix in prefixes[counts > most_children(len(self.prefixes))].tolist():
            rows = np.flatnonzero(self.prefixes == prefix)
            smaller = halves(self._centroids[rows])
            born = None if smaller is None else self._codes.subcategory(prefix >> SUBCATEGORY_BITS)
            if smaller is not None and born is not None:
                self.prefixes[rows[smaller]] = born

    def _alone(self, row: int) -> bool:
        return int(np.count_nonzero(self.prefixes == self.prefixes[row])) == 1

    def _category(self, row: int) -> int:
        return int(self.prefixes[row]) >> SUBCATEGORY_BITS


def _squared(vector: Vectors) -> float:
    return float(vector @ vector)


def _renamed(book: Codebook, born: dict[int, int], members: Members) -> Decision:
    """Leaves of some rows under new codes, with all their documents."""
    changes: list[LeafChange] = []
    documents, to_leaves = [], []
    for row, code in born.items():
        old = int(book.leaves[row])
        changes += [LeafChange(old, None), LeafChange(code, book.centroids[row], born_from=old)]
        documents.append(members(old)[0])
        to_leaves.append(np.full(len(documents[-1]), code, dtype=np.int64))
    return Decision("regroup", tuple(changes), np.concatenate(documents), np.concatenate(to_leaves))
