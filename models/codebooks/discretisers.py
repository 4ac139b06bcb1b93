"""Five ways from vectors to codes of several levels, behind one protocol, so that they can be compared.

The product uses the bottom-up tree; `trieflow bench discretisers` says why. What a code means is a vector, and so
is what a prefix means: a query ranks the prefixes of one length by `scores`.
"""

from __future__ import annotations

import math
from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from models.codebooks.arrays import Vectors
from models.codebooks.fit import fit_codebook
from models.codebooks.k_means import k_means
from streams.errors import ModelError
from streams.semantic_id import CLUSTER_BITS, LEVEL_SIZES, SUBCATEGORY_BITS

Codes = NDArray[np.int64]
"""(n, levels): one number a level. Its first numbers are a prefix."""


class Discretiser(Protocol):
    """Vectors (n, d) to codes (n, levels) and back. `fit` comes first, and is repeatable for a seed."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Below which number the codes of each level are."""

    @property
    def nbytes(self) -> int:
        """Of what was fitted."""

    def fit(self, vectors: Vectors, seed: int) -> None:
        """Learn from vectors (n, d). Raises ModelError when they are too few."""

    def encode(self, vectors: Vectors) -> Codes:
        """The code of each vector, (n, levels)."""

    def decode(self, prefixes: Codes) -> Vectors:
        """What prefixes (m, 1 ... levels) mean, (m, d). They are prefixes of codes that `encode` gave."""


def scores(discretiser: Discretiser, queries: Vectors, prefixes: Codes) -> Vectors:
    """How near queries (q, d) are to what prefixes (m, l) mean, (q, m): higher is nearer. Adds up like products."""
    meant = discretiser.decode(prefixes)
    found: Vectors = queries @ meant.T - np.einsum("md,md->m", meant, meant) / 2
    return found


class BottomUpTree:
    """Flat k-means makes the leaves, grouped into subcategories, and those into categories: the product's."""

    sizes = LEVEL_SIZES[:-1]

    def __init__(self, leaves: int) -> None:
        self._leaves = leaves

    def fit(self, vectors: Vectors, seed: int) -> None:
        self._book = fit_codebook(vectors, epoch=1, stamp="", leaves=self._leaves, seed=seed)

    @property
    def nbytes(self) -> int:
        return int(self._book.centroids.nbytes)

    def encode(self, vectors: Vectors) -> Codes:
        packed = self._book.nearest(vectors, 1)[0][:, 0]
        shifts = SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0
        codes: Codes = np.stack([packed >> shift for shift in shifts], axis=1) % np.array(self.sizes)
        return codes

    def decode(self, prefixes: Codes) -> Vectors:
        below = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)[prefixes.shape[1] - 1]
        known, means = self._book.level(below)
        return means[np.searchsorted(known, _packed(prefixes, self.sizes))]


class TopDownTree:
    """K-means cuts the whole, then each part again; a vector goes down by the nearest child of each node."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes

    def fit(self, vectors: Vectors, seed: int) -> None:
        _enough(vectors, math.prod(self.sizes))
        self._children: dict[tuple[int, ...], Vectors] = {}
        self._cut((), np.ascontiguousarray(vectors), seed)

    @property
    def nbytes(self) -> int:
        return sum(children.nbytes for children in self._children.values())

    def encode(self, vectors: Vectors) -> Codes:
        codes = np.empty((len(vectors), len(self.sizes)), dtype=np.int64)
        self._descend((), np.arange(len(vectors)), vectors, codes)
        return codes

    def decode(self, prefixes: Codes) -> Vectors:
        return np.stack([self._children[tuple(path[:-1])][path[-1]] for path in prefixes.tolist()])

    def _cut(self, path: tuple[int, ...], vectors: Vectors, seed: int) -> None:
        if not len(vectors):  # nothing was nearest to this node, but something may be one day
            vectors = self._children[path[:-1]][path[-1:]]
        self._children[path] = k_means(vectors, self.sizes[len(path)], seed=seed)
        if len(path) + 1 < len(self.sizes):
            nearest = faiss.knn(vectors, self._children[path], 1)[1][:, 0]
            for child in range(len(self._children[path])):
                self._cut((*path, child), vectors[nearest == child], seed)

    def _descend(self, path: tuple[int, ...], rows: NDArray[np.intp], vectors: Vectors, codes: Codes) -> None:
        codes[rows, len(path)] = nearest = faiss.knn(vectors[rows], self._children[path], 1)[1][:, 0]
        if len(path) + 1 < len(self.sizes):
            for child in np.unique(nearest).tolist():
                self._descend((*path, child), rows[nearest == child], vectors, codes)


class ResidualQuantiser:
    """Each level says what the levels before left over: a code means a sum."""

    def __init__(self, *, levels: int, bits: int) -> None:
        self.sizes = (1 << bits,) * levels
        self._bits = bits

    def fit(self, vectors: Vectors, seed: int) -> None:
        _enough(vectors, max(self.sizes))
        self._library = faiss.ResidualQuantizer(vectors.shape[1], len(self.sizes), self._bits)
        self._library.cp.seed = seed
        self._library.max_beam_size = 1  # each level the best by itself: a prefix is to mean something
        self._library.train(np.ascontiguousarray(vectors))
        flat = faiss.vector_to_array(self._library.codebooks)
        self._codewords: Vectors = flat.reshape(*self._shape, vectors.shape[1])

    @property
    def nbytes(self) -> int:
        return int(self._codewords.nbytes)

    def encode(self, vectors: Vectors) -> Codes:
        packed = self._library.compute_codes(np.ascontiguousarray(vectors))
        return _unpacked(packed, self._library.M, self._bits)

    def decode(self, prefixes: Codes) -> Vectors:
        meant: Vectors = self._codewords[np.arange(prefixes.shape[1]), prefixes].sum(axis=1)
        return meant

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.sizes), self.sizes[0]


class ProductQuantiser:
    """Each level says where some of the dimensions are; those that a prefix does not reach are the mean."""

    def __init__(self, *, levels: int, bits: int) -> None:
        self.sizes = (1 << bits,) * levels
        self._bits = bits

    def fit(self, vectors: Vectors, seed: int) -> None:
        _enough(vectors, max(self.sizes))
        self._dimension = vectors.shape[1]
        self._mean: Vectors = self._padded(vectors).mean(axis=0)
        self._library = faiss.ProductQuantizer(len(self._mean), len(self.sizes), self._bits)
        self._library.cp.seed = seed
        self._library.train(self._padded(vectors))
        flat = faiss.vector_to_array(self._library.centroids)
        self._codewords: Vectors = flat.reshape(len(self.sizes), self.sizes[0], -1)

    @property
    def nbytes(self) -> int:
        return int(self._codewords.nbytes)

    def encode(self, vectors: Vectors) -> Codes:
        packed = self._library.compute_codes(self._padded(vectors))
        return _unpacked(packed, len(self.sizes), self._bits)

    def decode(self, prefixes: Codes) -> Vectors:
        meant = np.tile(self._mean, (len(prefixes), 1))
        known = self._codewords[np.arange(prefixes.shape[1]), prefixes].reshape(len(prefixes), -1)
        meant[:, : known.shape[1]] = known
        return meant[:, : self._dimension]

    def _padded(self, vectors: Vectors) -> Vectors:
        """With zeros behind, so that each level has as many dimensions."""
        lacking = -vectors.shape[1] % len(self.sizes)
        return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, lacking))))


class SignHash:
    """Signs of learned directions (iterative quantisation): a level is some bits, a code a corner of a cube."""

    def __init__(self, *, levels: int, bits: int) -> None:
        self.sizes = (1 << bits,) * levels
        self._bits = bits

    def fit(self, vectors: Vectors, seed: int) -> None:
        directions = self._bits * len(self.sizes)
        _enough(vectors, directions)
        if vectors.shape[1] < directions:
            raise ModelError(f"{directions} bits need as many dimensions, not {vectors.shape[1]}")
        self._mean: Vectors = vectors.mean(axis=0)
        centred = np.ascontiguousarray(vectors - self._mean)
        principal = faiss.PCAMatrix(vectors.shape[1], directions)
        principal.train(centred)
        axes = _matrix(principal.A, directions)
        rotation = faiss.ITQMatrix(directions)
        rotation.seed = seed
        rotation.train(np.ascontiguousarray(centred @ axes.T))
        self._directions: Vectors = _matrix(rotation.A, directions) @ axes
        self._lengths: Vectors = np.abs(centred @ self._directions.T).mean(axis=0)

    @property
    def nbytes(self) -> int:
        return int(self._directions.nbytes)

    def encode(self, vectors: Vectors) -> Codes:
        bits = (vectors - self._mean) @ self._directions.T > 0
        weights = 1 << np.arange(self._bits)
        return bits.reshape(len(vectors), len(self.sizes), self._bits) @ weights

    def decode(self, prefixes: Codes) -> Vectors:
        bits = (prefixes[:, :, None] >> np.arange(self._bits) & 1).reshape(len(prefixes), -1)
        known = bits.shape[1]
        corner = np.where(bits > 0, self._lengths[:known], -self._lengths[:known])
        meant: Vectors = self._mean + corner.astype(np.float32) @ self._directions[:known]
        return meant


def _packed(prefixes: Codes, sizes: tuple[int, ...]) -> NDArray[np.int64]:
    packed = np.zeros(len(prefixes), dtype=np.int64)
    for level in range(prefixes.shape[1]):
        packed = packed * sizes[level] + prefixes[:, level]
    return packed


def _unpacked(packed: NDArray[np.uint8], levels: int, bits: int) -> Codes:
    """Numbers of `bits` bits out of a row of bytes, the lowest bits first."""
    single = np.unpackbits(packed, axis=1, bitorder="little")[:, : levels * bits]
    return single.reshape(len(packed), levels, bits) @ (1 << np.arange(bits))


def _matrix(flat: object, rows: int) -> Vectors:
    matrix: Vectors = faiss.vector_to_array(flat).reshape(rows, -1)
    return matrix


def _enough(vectors: Vectors, needed: int) -> None:
    if len(vectors) < needed:
        raise ModelError(f"{needed} codes need at least as many vectors, not {len(vectors)}")
