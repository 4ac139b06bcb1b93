"""What a decoder is distilled from: queries, and for each the leaves where exact search finds its answers.

No clicks are needed: any vector that is like a query, and the index itself, make a training pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from models.decoder.levels import Codes, Floats, rows_of
from streams.errors import ModelError


@dataclass(frozen=True)
class Sample:
    """Documents, the tree, and query-like vectors, all as arrays.

    documents: (n, d), float16 or float32, a sample of the index. paths: their packed leaves, int64 (n, c): the
    first and others that hold them too, -1 for none. leaves: the tree's, int64 (L,), ascending; centroids: (L, d).
    queries: (m, d), in the form that the encoder gives queries. own: the row of the document that each was made
    from, int64 (m,), -1 for none. queries_are_documents: each query is the vector of its own document, which
    then is no answer, because it would always be the first.
    """

    documents: NDArray[np.floating]
    paths: Codes
    leaves: Codes
    centroids: Floats
    queries: NDArray[np.floating]
    own: Codes
    queries_are_documents: bool = False

    def __post_init__(self) -> None:
        """Raises ModelError when arrays do not fit together."""
        n, m, d = len(self.documents), len(self.queries), self.centroids.shape[1]
        shapes = {
            "documents": (self.documents.shape, (n, d)),
            "paths": (self.paths.shape, (n, self.paths.shape[-1])),
            "queries": (self.queries.shape, (m, d)),
            "own": (self.own.shape, (m,)),
            "centroids": (self.centroids.shape, (len(self.leaves), d)),
        }
        wrong = [
            f"{name} is {given}, not {wanted}" for name, (given, wanted) in shapes.items() if given != wanted
        ]
        if wrong:
            raise ModelError("a sample to distil from does not fit together: " + "; ".join(wrong))


@dataclass(frozen=True)
class Pairs:
    """Rows of leaves instead of codes; -1 fills up.

    queries: float32 (m, d). documents: its own document's vector, or its nearest one's, float32 (m, d).
    targets: leaves of the exact best documents, each once, (m, t), and their shares in `weights`, which sum to 1.
    own: leaves of its own document, (m, c). answers: leaves of each of the best documents, (m, top, c).
    negatives: leaves of the documents that come next, none of them a target, (m, k).
    """

    queries: Floats
    documents: Floats
    targets: Codes
    weights: Floats
    own: Codes
    negatives: Codes
    answers: Codes

    def __len__(self) -> int:
        return len(self.queries)

    def rows(self, rows: NDArray[np.int64]) -> Pairs:
        """Some of the pairs."""
        return Pairs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Neighbours:
    """The nearest documents of each query, best first: their inner products and rows, both (m, k)."""

    scores: Floats
    rows: Codes


def exact_neighbours(sample: Sample, *, k: int) -> Neighbours:
    """Search all queries exactly, which costs m · n · d multiplications.

    Raises ModelError when the sample has no more documents than that.
    """
    if len(sample.documents) <= k:
        raise ModelError(f"{k} neighbours need more than {len(sample.documents)} documents")
    queries = np.ascontiguousarray(sample.queries, dtype=np.float32)
    documents = np.ascontiguousarray(sample.documents, dtype=np.float32)
    itself = int(sample.queries_are_documents)
    scores, rows = faiss.knn(queries, documents, k + itself, metric=faiss.METRIC_INNER_PRODUCT)
    return _without_itself(sample, scores, rows) if itself else Neighbours(scores, rows)


def _without_itself(sample: Sample, scores: Floats, rows: Codes) -> Neighbours:
    itself = rows == sample.own[:, None]
    itself[~itself.any(axis=1), -1] = True  # equals came before it: the last one goes
    shape = len(rows), rows.shape[1] - 1
    return Neighbours(scores[~itself].reshape(shape), rows[~itself].reshape(shape))


def make_pairs(sample: Sample, neighbours: Neighbours, *, top: int, teacher_temperature: float) -> Pairs:
    """Read off the leaves of what was found for each query.

    A document of the best `top` weighs softmax(score / (teacher_temperature · spread of the top's scores)), shared
    by its leaves; those after them give the hard negatives.
    """
    paths = rows_of(sample.paths, sample.leaves)
    answers = paths[neighbours.rows[:, :top]]
    targets, weights = _targets(answers, _shares(neighbours.scores[:, :top], teacher_temperature))
    own = np.where(sample.own >= 0, sample.own, neighbours.rows[:, 0])
    return Pairs(
        queries=np.ascontiguousarray(sample.queries, dtype=np.float32),
        documents=np.ascontiguousarray(sample.documents[own], dtype=np.float32),
        targets=targets,
        weights=weights,
        own=np.where(sample.own[:, None] >= 0, paths[sample.own], -1),
        negatives=_negatives(paths[neighbours.rows[:, top:], 0], targets),
        answers=answers,
    )


def _shares(scores: Floats, temperature: float) -> Floats:
    spread = np.maximum(scores.std(axis=1, keepdims=True), 1e-6)
    shares = np.exp((scores - scores.max(axis=1, keepdims=True)) / (temperature * spread))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def _targets(answers: Codes, shares: Floats) -> tuple[Codes, Floats]:
    """Each leaf once: (m, top, c) and (m, top) -> leaves and weights, both (m, top · c)."""
    there = answers >= 0
    each = np.where(there, shares[:, :, None] / np.maximum(there.sum(axis=2, keepdims=True), 1), 0.0)
    leaves, weights = answers.reshape(len(answers), -1), each.reshape(len(answers), -1)
    same = leaves[:, :, None] == leaves[:, None, :]
    first = ~np.triu(same, 1).any(axis=1) & (leaves >= 0)
    weights = np.where(first, (same @ weights[:, :, None])[:, :, 0], 0.0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return np.where(first, leaves, -1), weights.astype(np.float32)


def _negatives(leaves: Codes, targets: Codes) -> Codes:
    """Leaves (m, k) that are no targets, each once, others -1."""
    target = (leaves[:, :, None] == targets[:, None, :]).any(axis=2)
    again = np.triu(leaves[:, :, None] == leaves[:, None, :], 1).any(axis=1)
    return np.where(target | again, -1, leaves)
