"""A tree that documents are put into one after the other: what the curator and the searchers do, without Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.leaf_recall import Postings
from benchmarks.membership import Membership
from models.codebooks import (
    Decision,
    fit_codebook,
    merge,
    outgrown,
    recentre,
    regroup,
    second_leaves,
    split,
    undersized,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

CANDIDATES = 8
AROUND = 16
"""Leaves around one that changed whose documents choose their second leaf again."""


class GrowingTree:
    """Documents are numbered as they come. Counts what is renamed between fits and by fits."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._members = Membership()
        self._second = np.full(len(vectors), -1, dtype=np.int64)
        self._waiting: dict[int, None] = {}
        self._size_when_set: dict[int, int] = {}
        self.count = 0
        self.renamed = 0
        self.renamed_by_fits = 0
        self.splits = 0
        self.recentred = 0

    def fit(self, leaves: int, seed: int, *, first: int | None = None) -> None:
        """Fit anew, on the first documents if it is the first time, and give every document its place."""
        self.renamed_by_fits += self.count
        self.count = first or self.count
        self.book = fit_codebook(
            self._vectors[: self.count], epoch=1, stamp="bench", leaves=leaves, seed=seed
        )
        self._waiting.clear()
        self._place(np.arange(self.count))
        self._size_when_set = self._members.counts()

    def insert(self, count: int) -> None:
        """The next documents come."""
        self._place(np.arange(self.count, self.count + count))
        self.count += count

    def split_above(self, most: int) -> None:
        """Split leaves until none holds more, but for those that cannot be split."""
        kept: set[int] = set()
        while large := [leaf for leaf, n in self._members.counts().items() if n > most and leaf not in kept]:
            for leaf in sorted(large):
                decision = split(self.book, leaf, self._of)
                self.splits += decision is not None
                kept |= set() if self._do(decision) else {leaf}

    def tidy(self) -> None:
        """Merge small leaves and look at the subcategories."""
        self._do(merge(self.book, undersized(self.book, self._members.counts()), self._of))
        self._do(regroup(self.book, self._of))

    def recentre(self) -> None:
        """Put centroids into the middle of leaves that have grown."""
        leaves = outgrown(self._members.counts(), self._size_when_set)
        self._do(recentre(self.book, leaves, self._of))
        self.recentred += len(leaves)

    def repair(self, most: int) -> None:
        """Choose the second leaf again for about so many documents near leaves that changed."""
        while self._waiting and most > 0:
            leaf = next(iter(self._waiting))
            del self._waiting[leaf]
            documents = self._members.documents(leaf)
            most -= max(1, len(documents))
            if len(documents):
                self._choose_second(documents, self.book.nearest(self._vectors[documents], CANDIDATES)[0])

    def postings(self) -> Postings:
        """The documents of each leaf of the tree, both copies."""
        leaves = self.book.leaves
        first = np.array([self._members.leaf_of(document) for document in range(self.count)], dtype=np.int64)
        second = np.minimum(np.searchsorted(leaves, self._second[: self.count]), len(leaves) - 1)
        second[leaves[second] != self._second[: self.count]] = -1
        return Postings.of(np.searchsorted(leaves, first), second, leaves=len(leaves))

    def sizes(self) -> Rows:
        """How many documents the leaves hold."""
        return np.array(list(self._members.counts().values()))

    def _of(self, leaf: int) -> tuple[Rows, Vectors]:
        documents = self._members.documents(leaf)
        return documents, self._vectors[documents]

    def _place(self, documents: Rows) -> None:
        near = self.book.nearest(self._vectors[documents], CANDIDATES)[0]
        self._members.put(documents, near[:, 0])
        self._choose_second(documents, near)

    def _choose_second(self, documents: Rows, near: Rows) -> None:
        leaves = self.book.leaves
        first = np.array([self._members.leaf_of(document) for document in documents.tolist()], dtype=np.int64)
        second = second_leaves(
            self._vectors[documents],
            first=np.searchsorted(leaves, first),
            candidates=np.searchsorted(leaves, near),
            centroids=self.book.centroids,
        )
        self._second[documents] = np.where(second >= 0, leaves[second], -1)

    def _do(self, decision: Decision | None) -> bool:
        if decision is None:
            return False
        self.book = self.book.apply(decision.changes)
        self._members.apply(decision)
        self.renamed += len(decision.documents)
        if len(decision.documents):
            near = self.book.nearest(self._vectors[decision.documents], CANDIDATES)[0]
            self._choose_second(decision.documents, near)
        counts = self._members.counts()
        for change in decision.changes:
            self._size_when_set[change.leaf] = counts.get(change.leaf, 0)
        self._waiting.update(dict.fromkeys(self._touched(decision)))
        return True

    def _touched(self, decision: Decision) -> list[int]:
        """Leaves whose documents may have a better second leaf now."""
        changed = [change for change in decision.changes if change.centroid is not None]
        if decision.reason == "recentre" or not changed:
            return [change.leaf for change in changed]
        around = self.book.nearest(np.stack([change.centroid for change in changed]), AROUND + 1)[0]
        return around.ravel().tolist()
