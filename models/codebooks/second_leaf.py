"""The second leaf of a document: where else it is looked for. Search alone knows it; it is never in an id.

The rule is SOAR (orthogonality-amplified residuals, NeurIPS 2023): near the document, and with a residual
orthogonal to that of the first leaf, so that a query which the first leaf fails is likely served by the second.
This is the rule on arrays, to measure with; the live index follows it in compiled code, document by document.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.codebooks.arrays import Rows, Vectors

CANDIDATES = 8
"""The nearest leaves among which the second one is chosen."""
WEIGHT = 1.0
"""Lambda of the paper: what a residual parallel to the first one costs."""
NONE = -1

_CHUNK = 1_024


def second_leaves(
    vectors: Vectors, *, first: Rows, candidates: Rows, centroids: Vectors, weight: float = WEIGHT
) -> Rows:
    """The second leaf of each document, (n,): a row of `centroids`, or `NONE` without another candidate.

    Args:
        vectors: (n, d).
        first: (n,), the row of each document's first leaf.
        candidates: (n, k), rows of leaves, best first; negative ones are no leaf. The first leaf may be among them.
        centroids: (L, d).

    Of two candidates that are equally good the earlier one is taken.
    """
    chosen = np.full(len(vectors), NONE, dtype=np.int64)
    for start in range(0, len(vectors), _CHUNK):
        part = slice(start, start + _CHUNK)
        loss = _losses(vectors[part], centroids[first[part]], centroids[candidates[part]], weight)
        loss[(candidates[part] < 0) | (candidates[part] == first[part, None])] = np.inf
        best = loss.argmin(axis=1)[:, None]
        there = np.isfinite(np.take_along_axis(loss, best, axis=1)[:, 0])
        chosen[part][there] = np.take_along_axis(candidates[part], best, axis=1)[there, 0]
    return chosen


def _losses(vectors: Vectors, first: Vectors, others: Vectors, weight: float) -> NDArray[np.float32]:
    """|x - c|² + weight · (the part of x - c that is parallel to x - c₁)², (n, k)."""
    residual = vectors - first
    norm = np.einsum("nd,nd->n", residual, residual) + np.float32(1e-9)
    other = vectors[:, None, :] - others
    parallel = np.einsum("nkd,nd->nk", other, residual) ** 2 / norm[:, None]
    losses: NDArray[np.float32] = np.einsum("nkd,nkd->nk", other, other) + np.float32(weight) * parallel
    return losses
