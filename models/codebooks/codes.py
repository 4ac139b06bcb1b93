"""Codes for leaves and subcategories that are born in a tree."""

from __future__ import annotations

import numpy as np

from models.codebooks.arrays import Codes
from models.codebooks.tree import Codebook
from streams.semantic_id import CATEGORIES, CLUSTER_BITS, CLUSTERS, SUBCATEGORIES, SUBCATEGORY_BITS


class FreeCodes:
    """Codes that are not among those in use, each handed out once."""

    def __init__(self, used: Codes) -> None:
        """used: packed codes of leaves, (n,), those that were given up too."""
        used = np.sort(used)
        self._next_cluster = _next(used, CLUSTER_BITS)
        self._next_subcategory = _next(used >> CLUSTER_BITS, SUBCATEGORY_BITS)

    @classmethod
    def of(cls, book: Codebook) -> FreeCodes:
        """Codes that nothing in this tree has or ever had."""
        return cls(np.concatenate([book.leaves, np.fromiter(book.gone, dtype=np.int64)]))

    def leaf(self, prefix: int) -> int | None:
        """A packed leaf code in the subcategory of this prefix; None when all its codes have been used."""
        cluster = self._next_cluster.get(prefix, 0)
        if cluster >= CLUSTERS:
            return None
        self._next_cluster[prefix] = cluster + 1
        return prefix << CLUSTER_BITS | cluster

    def subcategory(self, category: int) -> int | None:
        """A prefix in this category, or in the one with the most room when it is full; None when all are."""
        if self._next_subcategory.get(category, 0) >= SUBCATEGORIES:
            category = min(range(CATEGORIES), key=lambda c: self._next_subcategory.get(c, 0))
        subcategory = self._next_subcategory.get(category, 0)
        if subcategory >= SUBCATEGORIES:
            return None
        self._next_subcategory[category] = subcategory + 1
        return category << SUBCATEGORY_BITS | subcategory


def _next(used: Codes, bits: int) -> dict[int, int]:
    """For each parent of these ascending codes the number after the largest of its children."""
    parents, first = np.unique(used >> bits, return_index=True)
    last = used[np.append(first, len(used))[1:] - 1] & ((1 << bits) - 1)
    return dict(zip(parents.tolist(), (last + 1).tolist(), strict=True))
