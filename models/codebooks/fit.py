"""Fitting a tree to vectors, bottom-up: flat k-means makes the leaves, their centroids are grouped upwards.

A tree cut top-down by greedy steps loses 5 to 10 points of recall at equal cost.
"""

from __future__ import annotations

import math

import numpy as np

from models.codebooks.arrays import AnyVectors, Codes, Rows, Vectors
from models.codebooks.codes import FreeCodes
from models.codebooks.halves import halves
from models.codebooks.k_means import Progress, cluster, grouped, k_means, no_progress
from models.codebooks.tree import Codebook
from streams.errors import ModelError
from streams.semantic_id import CATEGORIES

CHILDREN = 96
"""A subcategory may have this many leaves, or 2 · √leaves where that is more: three times the mean after a fit."""


def fit_codebook(
    vectors: AnyVectors,
    *,
    epoch: int,
    stamp: str,
    leaves: int,
    seed: int,
    progress: Progress = no_progress,
) -> Codebook:
    """Fit a tree of about `leaves` leaves on vectors (n, d) of 16 or 32 bits. Repeatable for a seed.

    Equal vectors make fewer leaves. `progress` is told the share of the work that is done. Beside the vectors,
    which may be mapped from disk, memory is taken for about four times the centroids. Raises ModelError when there
    are fewer vectors than leaves, or more leaves than codes.
    """
    if len(vectors) < leaves:
        raise ModelError(f"{leaves} leaves need at least as many vectors, not {len(vectors)}")
    centroids = k_means(vectors, leaves, seed=seed, progress=progress)
    codes = coded(centroids, seed)
    return Codebook.of(codes, centroids, epoch=epoch, stamp=stamp, fitted_on=len(vectors))


def coded(centroids: Vectors, seed: int) -> Codes:
    """A packed code for each leaf (L, d): near leaves in one subcategory, near subcategories in one category."""
    subcategory_of = _cut(centroids, grouped(centroids, seed))
    subcategories = range(int(subcategory_of.max()) + 1)
    means = np.stack([centroids[subcategory_of == group].mean(axis=0) for group in subcategories])
    category_of = cluster(means, min(CATEGORIES, max(1, round(math.sqrt(len(means))))), seed)
    codes = FreeCodes(np.empty(0, dtype=np.int64))
    prefixes = [codes.subcategory(category) for category in category_of.tolist()]
    return np.array([_leaf(codes, prefixes[group]) for group in subcategory_of.tolist()], dtype=np.int64)


def most_children(leaves: int) -> int:
    """How many leaves a subcategory may have in a tree of so many, before it is cut in two."""
    return max(CHILDREN, math.isqrt(4 * leaves))


def _cut(centroids: Vectors, group_of: Rows) -> Rows:
    """Groups that are too wide are cut in two until none is."""
    groups = [np.flatnonzero(group_of == group) for group in np.unique(group_of)]
    most, narrow = most_children(len(group_of)), []
    while groups:
        rows = groups.pop()
        smaller = halves(centroids[rows]) if len(rows) > most else None
        if smaller is None:
            narrow.append(rows)
        else:
            groups += [rows[smaller], rows[~smaller]]
    numbered = np.empty_like(group_of)
    for number, rows in enumerate(narrow):
        numbered[rows] = number
    return numbered


def _leaf(codes: FreeCodes, prefix: int | None) -> int:
    code = None if prefix is None else codes.leaf(prefix)
    if code is None:
        raise ModelError("there are more leaves than a tree has codes for")
    return code
