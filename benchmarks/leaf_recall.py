"""Recall of a tree by how many documents are scored: leaf after leaf, the best one first, each document once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Postings:
    """The documents of each leaf: those of leaf l are `documents[first[l] : first[l + 1]]`."""

    documents: Rows
    first: Rows

    @classmethod
    def of(cls, *leaf_of: Rows, leaves: int) -> Postings:
        """From the leaf of each document, (n,), a row below `leaves`; more arrays: more copies; -1: none."""
        at = np.concatenate(leaf_of)
        documents = np.tile(np.arange(len(leaf_of[0])), len(leaf_of))[at >= 0]
        order = np.argsort(at[at >= 0], kind="stable")
        return cls(documents[order], np.searchsorted(at[at >= 0][order], np.arange(leaves + 1)))

    def in_order(self, ranked: Rows, most: int) -> Rows:
        """The first `most` different documents of these leaves, in order."""
        sizes = np.cumsum(self.first[ranked + 1] - self.first[ranked])
        # No document has more than two copies: twice as many postings are enough.
        enough = ranked[: int(np.searchsorted(sizes, 2 * most)) + 1].tolist()
        found = np.concatenate([self.documents[self.first[leaf] : self.first[leaf + 1]] for leaf in enough])
        _, at = np.unique(found, return_index=True)
        return found[np.sort(at)[:most]]


def recall_when_scored(
    postings: Postings, ranked: Rows, exact: NDArray[np.integer], scored: Sequence[int]
) -> dict[int, float]:
    """The share of the exact answers (q, k) among so many scored documents; `ranked`: the leaves of each query."""
    right = dict.fromkeys(scored, 0)
    for leaves, wanted in zip(ranked, exact, strict=True):
        found = postings.in_order(leaves, max(scored))
        for most in scored:
            right[most] += int(np.isin(wanted, found[:most]).sum())
    return {most: count / exact.size for most, count in right.items()}
