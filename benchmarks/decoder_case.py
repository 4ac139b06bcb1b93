"""What the decoder is measured on: documents in a tree, queries that nothing was trained on, exact answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np

from benchmarks import corpus, drawings
from models.codebooks import Codebook, fit_codebook, second_leaves
from models.decoder.levels import Codes, Floats, rows_of
from models.decoder.pairs import Sample
from models.decoder.weight import found_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 10
_CANDIDATES = 8
_AT_ONCE = 16_384
_GRID = 24


@dataclass(frozen=True)
class Case:
    """Documents (n, d) in a tree, and held-out queries (m, d) with the rows of their exact best ten, (m, 10).

    paths: the two leaves of each document, (n, 2). opened: numbers of leaves to report; members: of documents.
    """

    tree: Codebook
    documents: Floats
    paths: Codes
    queries: Floats
    best: NDArray[np.int64]
    opened: Sequence[int]
    members: int

    @property
    def geometry(self) -> Floats:
        """Query · centroid of every leaf, (m, L)."""
        return self.queries @ self.tree.centroids.T

    @property
    def answers(self) -> Codes:
        """Rows of the leaves that hold each exact answer, (m, 10, 2)."""
        return rows_of(self.paths, self.tree.leaves)[self.best]

    @property
    def sizes(self) -> Codes:
        """Documents in each leaf, both copies counted, (L,)."""
        rows = rows_of(self.paths, self.tree.leaves)
        return np.bincount(rows[rows >= 0], minlength=len(self.tree.leaves))

    def measure(self, scores: Floats) -> dict[str, float]:
        """Recall of the exact best ten in so many leaves, and in as many as hold so many documents."""
        rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
        at = np.take_along_axis(rank[:, None, :], np.maximum(self.answers, 0), axis=2)
        first = np.where(self.answers >= 0, at, len(self.tree.leaves)).min(axis=2)
        found = {f"{count} leaves": float((first < count).mean()) for count in self.opened}
        within = found_within(scores, answers=self.answers, sizes=self.sizes, budget=self.members)
        return found | {f"{self.members} documents": float(within.mean())}

    def geometry_needs(self, recall: float) -> float | None:
        """How many documents geometry alone has to open for this recall; None when that is beyond the grid."""
        budgets = np.geomspace(self.members / 4, 8 * self.members, _GRID)
        scores, answers, sizes = self.geometry, self.answers, self.sizes
        curve = [found_within(scores, answers=answers, sizes=sizes, budget=b).mean() for b in budgets]
        if recall > curve[-1]:
            return None
        return float(np.exp(np.interp(recall, curve, np.log(budgets))))


def placed(tree: Codebook, documents: Floats) -> Codes:
    """Both leaves of each document, (n, 2); -1 for none."""
    return np.concatenate(
        [
            _placed(tree, np.ascontiguousarray(documents[start : start + _AT_ONCE], dtype=np.float32))
            for start in range(0, len(documents), _AT_ONCE)
        ]
    )


def _placed(tree: Codebook, documents: Floats) -> Codes:
    _, near = faiss.knn(documents, tree.centroids, min(_CANDIDATES, len(tree.leaves)))
    second = second_leaves(documents, first=near[:, 0], candidates=near, centroids=tree.centroids)
    return np.stack([tree.leaves[near[:, 0]], np.where(second >= 0, tree.leaves[second], -1)], axis=1)


def exact(queries: Floats, documents: Floats) -> NDArray[np.int64]:
    """Rows of the best ten by inner product, (m, 10)."""
    found: NDArray[np.int64] = faiss.knn(queries, documents, TOP, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return found


def of_corpus(folder: Path, *, documents: int, queries: int) -> tuple[Case, Sample]:
    """Sentences as documents and as queries; a tree as after a refit. And what may be distilled from."""
    whole = corpus.load(folder)
    vectors = np.ascontiguousarray(whole.vectors[:documents])
    tree = fit_codebook(vectors, epoch=1, stamp="corpus", leaves=documents // 32, seed=0)
    paths = placed(tree, vectors)
    asked = np.random.default_rng(0).choice(documents, queries, replace=False)
    sample = Sample(
        vectors, paths, tree.leaves, tree.centroids, vectors[asked], asked, queries_are_documents=True
    )
    best = exact(whole.queries, vectors)
    return Case(tree, vectors, paths, whole.queries, best, opened=(8, 16, 32), members=2_000), sample


def of_drawings(folder: Path, *, queries: int) -> tuple[Case, Sample]:
    """Drawings as documents, names as queries. And what may be distilled from: whole names are left out."""
    made = drawings.load(folder)
    tree = fit_codebook(made.documents, epoch=1, stamp=made.stamp, leaves=len(made.documents) // 32, seed=0)
    paths = placed(tree, made.documents)
    asked, known = made.queries[made.held_out], np.flatnonzero(~made.held_out)
    if len(known) > queries:
        known = np.sort(np.random.default_rng(0).choice(known, queries, replace=False))
    sample = Sample(made.documents, paths, tree.leaves, tree.centroids, made.queries[known], made.own[known])
    best = exact(asked, made.documents)
    return Case(tree, made.documents, paths, asked, best, opened=(4, 8, 16), members=400), sample
