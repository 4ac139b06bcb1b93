"""K-means (Lloyd) over many vectors: no second copy of them is made, and a round is not vectors times centroids.

Up to `FLAT_UP_TO` centroids a vector is compared with all. Beyond, they are put into groups anew before each round,
and it is compared with those of the nearest groups: n · √k instead of n · k, and as good a tree (docs/adr/0008).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import faiss
import numpy as np

from models.codebooks.arrays import AnyVectors, Rows, Vectors
from models.codebooks.grouped_search import FLAT_UP_TO, Group, GroupedSearch

Progress = Callable[[float], None]
"""Told the share of the work that is done, up to 1."""

ROUNDS = 8
"""More change recall by less than the spread between seeds."""
GROUPS_PER_ROOT = 1.5
"""√k · 1.5 groups of k centroids."""
CHUNK = 16_384
"""Vectors in work at once; those of 16 bits are copied to 32 bits in such pieces."""


def no_progress(share: float) -> None:
    """Nobody wants to know."""


def k_means(vectors: AnyVectors, k: int, *, seed: int, progress: Progress = no_progress) -> Vectors:
    """At most k centroids (k', d) of vectors (n, d), each the mean of some of them; repeatable for a seed.

    There are fewer than k where vectors are equal. Speed, with one core: docs/adr/0008.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:k])
    centroids = np.unique(np.asarray(vectors[rows], dtype=np.float32), axis=0)
    for done in range(ROUNDS):
        centroids = _round(vectors, centroids, seed=seed, progress=_part(progress, done))
    return centroids


def grouped(centroids: Vectors, seed: int) -> Rows:
    """Which of about 1.5 · √k groups each centroid (k, d) lies in, (k,)."""
    return cluster(centroids, max(1, round(GROUPS_PER_ROOT * math.sqrt(len(centroids)))), seed)


def cluster(centroids: Vectors, k: int, seed: int) -> Rows:
    """Which of k clusters each of a few vectors (n, d) lies in, (n,)."""
    if k >= len(centroids):
        return np.arange(len(centroids))
    library = faiss.Kmeans(
        centroids.shape[1],
        k,
        niter=ROUNDS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=1_000,
    )
    library.train(centroids)
    _, nearest = library.index.search(centroids, 1)
    return np.asarray(nearest[:, 0], dtype=np.int64)


def _round(vectors: AnyVectors, centroids: Vectors, *, seed: int, progress: Progress) -> Vectors:
    """The means of what is nearest to each centroid. A centroid that nothing is nearest to is left out."""
    nearest = _nearest_to(centroids, seed)
    sums, counts = np.zeros_like(centroids), np.zeros(len(centroids), dtype=np.int64)
    for start in range(0, len(vectors), CHUNK):
        chunk = np.ascontiguousarray(vectors[start : start + CHUNK], dtype=np.float32)
        rows = nearest(chunk)
        order = np.argsort(rows, kind="stable")
        found, first, times = np.unique(rows[order], return_index=True, return_counts=True)
        sums[found] += np.add.reduceat(chunk[order], first, axis=0)
        counts[found] += times
        progress(min(1.0, (start + CHUNK) / len(vectors)))
    return np.asarray(sums[counts > 0] / counts[counts > 0, None].astype(np.float32), dtype=np.float32)


def _part(progress: Progress, done: int) -> Progress:
    return lambda share: progress((done + share) / ROUNDS)


def _nearest_to(centroids: Vectors, seed: int) -> Callable[[Vectors], Rows]:
    if len(centroids) <= FLAT_UP_TO:
        return lambda chunk: np.asarray(faiss.knn(chunk, centroids, 1)[1][:, 0], dtype=np.int64)
    group_of = grouped(centroids, seed)
    members = [np.flatnonzero(group_of == group) for group in np.unique(group_of)]
    groups = [Group(rows, centroids[rows]) for rows in members]
    search = GroupedSearch(groups, np.stack([group.centroids.mean(axis=0) for group in groups]))
    return lambda chunk: search.nearest(chunk, 1)[0][:, 0]
