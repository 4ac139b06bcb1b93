"""Leaves of a tree as classes: which one a query should be sent to, as the generative path would send it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.adapter.data import Documents, Floats, Rows
from models.codebooks import fit_codebook


@dataclass(frozen=True)
class Leaves:
    """centroids: (L, d); of_rows: (m,), the leaf of each row of `Documents`, by its place among the centroids."""

    centroids: Floats
    of_rows: Rows


def fit_leaves(documents: Documents, *, per_leaf: int, seed: int) -> Leaves:
    """A tree with so many documents a leaf on average, fitted as the curator fits it. Repeatable for a seed."""
    vectors = documents.vectors
    leaves = max(1, len(vectors) // per_leaf)
    tree = fit_codebook(vectors, epoch=0, stamp="", leaves=leaves, seed=seed)
    nearest, _ = tree.nearest(vectors, 1)
    return Leaves(np.array(tree.centroids), np.searchsorted(tree.leaves, nearest[:, 0]))
