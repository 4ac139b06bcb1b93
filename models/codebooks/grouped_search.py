"""The nearest of many centroids by way of groups: only those of the groups that are nearest are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import faiss
import numpy as np

from models.codebooks.arrays import Rows, Vectors

FLAT_UP_TO = 8_192
"""Centroids up to which all of them are looked at. Beyond, groups are faster and miss little (docs/adr/0008)."""
GROUPS_SEEN = 32
"""Groups whose centroids are looked at."""
CHUNK = 8_192
"""Vectors that are searched for at once: bounds the memory."""


class Group(NamedTuple):
    """Centroids (m, d) that lie together, and what each is called, (m,)."""

    names: Rows
    centroids: Vectors


class GroupedSearch:
    """Centroids in groups, none of them empty. Searching from several threads is safe."""

    def __init__(self, groups: Sequence[Group], means: Vectors) -> None:
        """means: the mean of the centroids of each group, (g, d)."""
        self._groups = groups
        self._means = means
        self._seen = min(GROUPS_SEEN, len(groups))
        sizes = sorted(len(group.names) for group in groups)
        self.fewest = sum(sizes[: self._seen])
        """So many centroids are looked at for every vector, at the least."""

    def nearest(self, vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
        """Names and squared distances of the k ≤ `fewest` nearest centroids, best first, both (n, k)."""
        names = np.empty((len(vectors), k), dtype=np.int64)
        distances = np.empty((len(vectors), k), dtype=np.float32)
        for start in range(0, len(vectors), CHUNK):
            part = slice(start, start + CHUNK)
            names[part], distances[part] = self._nearest(vectors[part], k)
        return names, distances

    def _nearest(self, vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
        _, seen = faiss.knn(vectors, self._means, self._seen)
        names = np.zeros((*seen.shape, k), dtype=np.int64)
        distances = np.full((*seen.shape, k), np.inf, dtype=np.float32)
        # Each group is compared with all vectors that see it at once: a product of matrices.
        order = np.argsort(seen, axis=None, kind="stable")
        which, first = np.unique(seen.ravel()[order], return_index=True)
        for g, pairs in zip(which.tolist(), np.split(order, first[1:]), strict=True):
            group, (row, place) = self._groups[g], np.divmod(pairs, self._seen)
            few = min(k, len(group.names))
            distances[row, place, :few], found = faiss.knn(vectors[row], group.centroids, few)
            names[row, place, :few] = group.names[found]
        names, distances = names.reshape(len(vectors), -1), distances.reshape(len(vectors), -1)
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(names, best, axis=1), np.take_along_axis(distances, best, axis=1)
