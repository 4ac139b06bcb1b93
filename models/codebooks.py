"""Codebooks: the tree of meanings that gives documents their ids. Fit, assign, save, load.

The tree is fitted bottom-up: flat k-means makes the leaves, their centroids are grouped into subcategories,
these into categories. A top-down greedy tree loses 5 to 10 points of recall at equal cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import faiss
import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from streams.errors import ModelError
from streams.semantic_id import CATEGORIES, CLUSTERS, SUBCATEGORIES, Leaf

Vectors = NDArray[np.float32]
Codes = NDArray[np.int64]

ROUNDS = 10
"""Rounds of k-means (Lloyd). More change recall by less than the spread between seeds."""
SUBCATEGORIES_PER_ROOT = 1.5
"""1.5 · √leaves subcategories."""


@dataclass(frozen=True)
class Codebook:
    """A fitted tree of one epoch.

    leaves: int64 (L,), packed 24-bit leaf codes, ascending. centroids: float32 (L, d), in that order.
    stamp: the encoder whose vectors it was fitted on; fitted_on: how many.
    """

    epoch: int
    stamp: str
    fitted_on: int
    leaves: Codes
    centroids: Vectors

    def nearest(self, vectors: Vectors, k: int) -> tuple[Codes, Vectors]:
        """The k nearest leaves of each vector, best first: packed codes and squared distances, both (n, k)."""
        k = min(k, len(self.leaves))
        distances, rows = faiss.knn(np.ascontiguousarray(vectors, dtype=np.float32), self.centroids, k)
        return self.leaves[rows], distances

    def distance_to(self, vector: Vectors, leaf: Leaf) -> float:
        """The squared distance of a vector (d,) to a leaf's centroid; infinity when there is no such leaf."""
        row = int(np.searchsorted(self.leaves, leaf.packed()))
        if row >= len(self.leaves) or self.leaves[row] != leaf.packed():
            return math.inf
        difference = vector - self.centroids[row]
        return float(difference @ difference)

    def level(self, bits_below: int) -> tuple[Codes, Vectors]:
        """The nodes of one level: packed prefixes (m,), ascending, and the mean of their leaves (m, d).

        `bits_below` is what a prefix drops of the leaf code: 20 gives categories, 12 subcategories, 0 leaves.
        """
        prefixes, first = np.unique(self.leaves >> bits_below, return_index=True)
        counts = np.diff(np.append(first, len(self.leaves)))
        sums = np.add.reduceat(self.centroids, first, axis=0)
        return prefixes, (sums / counts[:, None]).astype(np.float32)

    def to_bytes(self) -> bytes:
        """The codebook as safetensors."""
        arrays = {"leaves": self.leaves, "centroids": self.centroids}
        metadata = {"epoch": str(self.epoch), "stamp": self.stamp, "fitted_on": str(self.fitted_on)}
        data: bytes = safetensors.save(arrays, metadata=metadata)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Codebook:
        """The inverse of `to_bytes`. Raises ModelError when the bytes are damaged."""
        try:
            arrays = safetensors.load(data)
            header = _metadata(data)
            return cls(
                epoch=int(header["epoch"]),
                stamp=header["stamp"],
                fitted_on=int(header["fitted_on"]),
                leaves=arrays["leaves"].astype(np.int64),
                centroids=arrays["centroids"].astype(np.float32),
            )
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"a codebook is damaged: {error}") from error


def _metadata(data: bytes) -> dict[str, str]:
    # The header is JSON behind its length (8 bytes, little endian); the library reads it from files only.
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = orjson.loads(data[8 : 8 + length])["__metadata__"]
    return found


def fit_codebook(vectors: Vectors, *, epoch: int, stamp: str, leaves: int, seed: int) -> Codebook:
    """Fit a tree of about `leaves` leaves on vectors (n, d). Repeatable for a seed.

    Raises ModelError when there are fewer vectors than leaves.
    """
    if len(vectors) < leaves:
        raise ModelError(f"{leaves} leaves need at least as many vectors, not {len(vectors)}")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    centroids, _ = _k_means(vectors, leaves, seed)
    groups = min(max(1, round(SUBCATEGORIES_PER_ROOT * math.sqrt(leaves))), leaves)
    subcategory_centroids, subcategory_of = _k_means(centroids, groups, seed)
    categories = min(CATEGORIES, max(1, round(math.sqrt(groups))))
    _, category_of = _k_means(subcategory_centroids, categories, seed)
    codes = _codes(subcategory_of, category_of)
    order = np.argsort(codes)
    return Codebook(epoch, stamp, len(vectors), codes[order], np.ascontiguousarray(centroids[order]))


def _k_means(vectors: Vectors, k: int, seed: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Centroids (k, d) and the nearest one of each vector (n,)."""
    if k >= len(vectors):
        return vectors.copy(), np.arange(len(vectors))
    k_means = faiss.Kmeans(
        vectors.shape[1], k, niter=ROUNDS, seed=seed, min_points_per_centroid=1, max_points_per_centroid=256
    )
    k_means.train(vectors)
    _, nearest = k_means.index.search(vectors, 1)
    return np.asarray(k_means.centroids, dtype=np.float32), nearest[:, 0].astype(np.int64)


def _codes(subcategory_of: NDArray[np.int64], category_of: NDArray[np.int64]) -> Codes:
    """Number the children of every node from 0. Groups that stayed empty get no number."""
    subcategory_code = _numbered(category_of, np.unique(subcategory_of), limit=SUBCATEGORIES)
    cluster_code = _numbered(subcategory_of, np.arange(len(subcategory_of)), limit=CLUSTERS)
    leaves = (
        Leaf(int(category_of[s]), subcategory_code[int(s)], cluster_code[row]).packed()
        for row, s in enumerate(subcategory_of)
    )
    return np.fromiter(leaves, dtype=np.int64, count=len(subcategory_of))


def _numbered(parent_of: NDArray[np.int64], children: NDArray[np.int64], *, limit: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    numbers = {}
    for child in children:
        parent = int(parent_of[child])
        numbers[int(child)] = counts.get(parent, 0)
        counts[parent] = numbers[int(child)] + 1
    if counts and max(counts.values()) > limit:
        raise ModelError(f"a node has {max(counts.values())} children; its level has room for {limit}")
    return numbers
