"""How a tree is kept good between two fits: leaves that are cut or merged, and documents that change their leaf.

Pure functions: a tree and the documents of its leaves, by a callback, go in; a `Decision` or nothing comes out. A
decision is to be applied, to the tree and to the documents, before the next one is asked for. Equal input gives an
equal decision. What the constants are worth: docs/adr/0008. Subcategories are kept in `regrouping.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.codebooks.arrays import Codes, Documents, Vectors
from models.codebooks.codes import FreeCodes
from models.codebooks.halves import halves
from models.codebooks.tree import Codebook, LeafChange
from streams.semantic_id import CLUSTER_BITS

Members = Callable[[int], tuple[Documents, Vectors]]
"""From a packed leaf to its documents: their numbers (m,) and vectors (m, d), in an order that repeats."""
Reason = Literal["split", "merge", "recentre", "regroup"]

MEAN = 64
"""Documents that a leaf holds on average just before the tree is fitted anew."""
SPLIT_ABOVE = 4 * MEAN
MERGE_BELOW = 1 / 8
"""A leaf is merged when it holds less than this share of the mean."""
GROWN = 1 / 8
"""A centroid is set anew when its leaf holds so much more or less than when it was set: worth 1 point of recall."""
NEIGHBOURS = 16
"""Leaves around a split leaf whose borders are looked at: more move more documents and find no more."""
HYSTERESIS = 1.05
"""A document keeps its leaf while that is at most 5 % farther than the nearest (squared distance)."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What is to be done: leaves that change, then documents (m,) and the packed leaves (m,) they go to."""

    reason: Reason
    changes: tuple[LeafChange, ...]
    documents: Documents
    to_leaves: Codes


def oversized(counts: Mapping[int, int]) -> list[int]:
    """Leaves that are to be split, the largest first; `counts`: documents by packed leaf."""
    large = [leaf for leaf, count in counts.items() if count > SPLIT_ABOVE]
    return sorted(large, key=lambda leaf: (-counts[leaf], leaf))


def undersized(book: Codebook, counts: Mapping[int, int]) -> list[int]:
    """Leaves that are to be merged away, ascending: those of few documents for the mean of this tree.

    Not to be asked while the documents of a new epoch are still on their way into it.
    """
    least = MERGE_BELOW * sum(counts.values()) / len(book)
    return [leaf for leaf in book.leaves.tolist() if counts.get(leaf, 0) < least]


def outgrown(counts: Mapping[int, int], when_set: Mapping[int, int]) -> list[int]:
    """Leaves that are to be recentred, ascending; `when_set`: what each held when its centroid was set."""

    def changed(leaf: int) -> bool:
        then = when_set.get(leaf, 0)
        return abs(counts[leaf] - then) > GROWN * then

    return sorted(filter(changed, counts))


def split(book: Codebook, leaf: int, members: Members) -> Decision | None:
    """Cut a leaf in two: the larger side keeps the code, the new leaf is born in the same subcategory.

    Then the borders with the nearest leaves are settled, and each leaf whose documents changed gets their mean as
    its centroid. None when the leaf cannot be cut: its vectors are equal, or its subcategory has no code left.
    """
    centroid, new = book.centroid(leaf), FreeCodes.of(book).leaf(leaf >> CLUSTER_BITS)
    documents, vectors = members(leaf)
    smaller = halves(vectors)
    if centroid is None or new is None or smaller is None:
        return None
    near = book.nearest(centroid[None], NEIGHBOURS + 1)[0][0].tolist()
    around = [other for other in near if other != leaf][:NEIGHBOURS]
    sides = [(documents[side], vectors[side]) for side in (~smaller, smaller)]
    return _settled(book, [leaf, new, *around], [*sides, *map(members, around)])


def merge(book: Codebook, leaves: Iterable[int], members: Members) -> Decision | None:
    """Give leaves up and send their documents to the nearest of those that stay. None: there is nothing to do.

    A leaf that is gone already is taken too: documents may reach it while the news of its end is on the way.
    """
    leaves = sorted(set(leaves))
    changes = tuple(LeafChange(leaf, None) for leaf in leaves if leaf in book)
    if len(changes) == len(book):  # a tree has a leaf
        return None
    documents, vectors = _all_of([members(leaf) for leaf in leaves], book.dimension)
    if not changes and not len(documents):
        return None
    to_leaves = book.apply(changes).nearest(vectors, 1)[0][:, 0]
    return Decision("merge", changes, documents, to_leaves)


def recentre(book: Codebook, leaves: Iterable[int], members: Members) -> Decision | None:
    """Put centroids into the middle of what their leaves hold; documents that now belong elsewhere go there.

    None when none of these leaves is in the tree and holds documents.
    """
    groups = {leaf: members(leaf) for leaf in sorted(set(leaves)) if leaf in book}
    held = {leaf: group for leaf, group in groups.items() if len(group[0])}
    if not held:
        return None
    changes = tuple(LeafChange(leaf, vectors.mean(axis=0)) for leaf, (_, vectors) in held.items())
    after = book.apply(changes)
    documents, vectors = _all_of(list(held.values()), book.dimension)
    sizes = [len(group) for group, _ in held.values()]
    away = vectors - np.repeat([_centroid(after, leaf) for leaf in held], sizes, axis=0)
    nearest, distances = after.nearest(vectors, 1)
    moved = np.einsum("nd,nd->n", away, away) > HYSTERESIS * distances[:, 0]
    return Decision("recentre", changes, documents[moved], nearest[moved, 0])


def _settled(book: Codebook, leaves: list[int], groups: Sequence[tuple[Documents, Vectors]]) -> Decision:
    """Settle the borders of an old leaf, the one cut from it, and leaves around; `groups`: what each holds.

    Documents of the first two may go to any of these leaves, those around to the first two alone: between leaves
    around nothing has changed.
    """
    documents, vectors = _all_of(groups, book.dimension)
    at = np.repeat(np.arange(len(leaves)), [len(group) for group, _ in groups])
    rows = [vectors[at == side].mean(axis=0) for side in (0, 1)]
    centroids = np.stack([*rows, *(_centroid(book, leaf) for leaf in leaves[2:])])
    to = _settle(vectors, at, centroids)
    changed = np.union1d([0, 1], np.concatenate([at[to != at], to[to != at]]))
    for row in np.intersect1d(changed, to):
        centroids[row] = vectors[to == row].mean(axis=0)
    changes = tuple(LeafChange(leaves[row], centroids[row], _parent(leaves, row)) for row in changed.tolist())
    moved = to != np.where(at == 1, 0, at)  # all of the new leaf come from the old one
    return Decision("split", changes, documents[moved], np.array(leaves, dtype=np.int64)[to[moved]])


def _settle(vectors: Vectors, at: NDArray[np.intp], centroids: Vectors) -> NDArray[np.intp]:
    """Where each vector (m, d) goes, now at row `at` (m,) of centroids (a, d) of which the first two are new."""
    products = vectors @ centroids.T
    distances = np.einsum("nd,nd->n", vectors, vectors)[:, None] - 2 * products
    distances += np.einsum("ad,ad->a", centroids, centroids)
    own = np.arange(len(vectors)), at
    keeps = distances[own].copy()
    distances[at > 1, 2:] = np.inf
    distances[own] = keeps
    best = distances.argmin(axis=1)
    stays = keeps <= HYSTERESIS * distances[np.arange(len(vectors)), best]
    return np.where(stays, at, best)


def _parent(leaves: Sequence[int], row: int) -> int | None:
    return leaves[0] if row == 1 else None


def _centroid(book: Codebook, leaf: int) -> Vectors:
    centroid = book.centroid(leaf)
    assert centroid is not None, leaf
    return centroid


def _all_of(groups: Sequence[tuple[Documents, Vectors]], dimension: int) -> tuple[Documents, Vectors]:
    none = np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float32)
    documents, vectors = zip(none, *groups, strict=True)
    return np.concatenate(documents), np.concatenate(vectors)
