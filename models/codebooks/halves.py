"""Cutting a set of vectors in two: 2-means that starts from the main axis, so that it needs no seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.codebooks.arrays import Vectors

ROUNDS = 8
AXIS_ROUNDS = 5
"""Rounds of the power iteration: a rough axis is enough, 2-means finds the rest."""
SMALLEST = 0.2
"""The smaller side gets at least this share: a cut that parts off three documents was not worth a code."""


def halves(vectors: Vectors) -> NDArray[np.bool_] | None:
    """Which of the vectors (n, d) are on the smaller side, (n,); None when they are too few or all equal."""
    if len(vectors) < 2:
        return None
    centred = vectors - vectors.mean(axis=0)
    if np.abs(centred).max() <= _least(vectors):
        return None
    normal, offset = _main_axis(centred), np.float32(0)
    for _ in range(ROUNDS):
        side = centred @ normal > offset
        if side.all() or not side.any():
            break
        above, below = centred[side].mean(axis=0), centred[~side].mean(axis=0)
        normal, offset = above - below, (above @ above - below @ below) / 2
    return _balanced(centred @ normal - offset)


def _main_axis(centred: Vectors) -> Vectors:
    axis: Vectors = centred[np.argmax(np.einsum("nd,nd->n", centred, centred))]
    for _ in range(AXIS_ROUNDS):
        axis = centred.T @ (centred @ axis)
        axis /= np.linalg.norm(axis)
    return axis


def _balanced(heights: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The smaller of the sides below and above zero, filled up with what is nearest to the border."""
    n = len(heights)
    if np.count_nonzero(heights > 0) > n / 2:
        heights = -heights
    size = max(np.count_nonzero(heights > 0), round(SMALLEST * n), 1)
    smaller = np.zeros(n, dtype=np.bool_)
    smaller[np.argsort(-heights, kind="stable")[:size]] = True
    return smaller


def _least(vectors: Vectors) -> float:
    """Differences that centroids of 16-bit floats cannot show."""
    return float(np.abs(vectors).max()) * 2.0**-11
