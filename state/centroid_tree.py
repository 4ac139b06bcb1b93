"""The tree of meanings in memory: centroids of all its nodes, and the beam that routes vectors to leaves.

Serves both sides: a query walks leaves that hold live documents, a new document is placed among all leaves.
Leaves come, move and go while readers walk; a leaf without a centroid scores as the node above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from state.archives import Archive
from state.lists import grown
from state.readers import Readers, Retired
from state.routing import (
    LEAF_LEVELS,
    Learned,
    LevelArrays,
    Tree,
    leaf_log_probabilities,
    put_centroids,
    route,
)
from state.trie import LiveTrie
from state.vector_rows import in_whole_numbers, padded
from streams.semantic_id import CATEGORIES, CLUSTER_BITS, CLUSTERS, SUBCATEGORIES, SUBCATEGORY_BITS

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

LEVEL_SHIFTS = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)
"""By how many bits a packed leaf is shifted to give its prefix at each level."""
LEAF_SIZES = (CATEGORIES, SUBCATEGORIES, CLUSTERS)
BEAM = 32
"""Subcategories that are opened; their share of the true best leaves is .95 to .99."""
_BRANCHES = CATEGORIES * SUBCATEGORIES
_NONE = -1


@dataclass(frozen=True)
class Routed:
    """Leaves of n vectors, best first; row i has `counts[i]`, the rest is undefined. All are (n, k).

    geometry: inner product with the leaf's centroid (less half its squared length when placed by distance);
    learned: log p(leaf | query) of the decoder, 0 without one.
    """

    leaves: Numbers
    numbers: Numbers
    geometry: Floats
    learned: Floats
    counts: Numbers


class CentroidTree:
    """Leaves with their centroids; each has a small stable number. One writer, readers without locks."""

    def __init__(self, dimension: int, *, readers: Readers | None = None, leaves: int = 64) -> None:
        self.dimension = dimension
        self.readers = readers or Readers()
        width = padded(np.zeros((1, dimension), dtype=np.float32)).shape[1]
        self.arrays = Tree(_level(CATEGORIES, width), _level(_BRANCHES, width), _level(leaves, width))
        self.every = LiveTrie(LEAF_SIZES, readers=self.readers)
        """All leaves that take documents."""
        self._numbers: dict[int, int] = {}
        self._codes = np.full(leaves, _NONE, dtype=np.int64)
        self._exact = np.zeros((leaves, dimension), dtype=np.float32)
        self._sums = (np.zeros((CATEGORIES, width)), np.zeros((_BRANCHES, width)))
        self._counts = (np.zeros(CATEGORIES, dtype=np.int64), np.zeros(_BRANCHES, dtype=np.int64))
        self._free: list[int] = []
        self._retired: Retired[list[int]] = Retired(self.readers)

    def number(self, leaf: int) -> int:
        """The number of a packed leaf, given at its first mention."""
        found = self._numbers.get(leaf)
        return self._new_number(leaf) if found is None else found

    def known(self, leaf: int) -> int | None:
        """The number of a leaf that was mentioned before."""
        return self._numbers.get(leaf)

    def code(self, number: int) -> int:
        """The packed leaf of a number."""
        return int(self._codes[number])

    def codes(self, numbers: Numbers) -> Numbers:
        """The packed leaves of numbers (n,)."""
        return self._codes[numbers]

    def exact(self, numbers: Numbers) -> Floats:
        """The centroids (n, d) of numbers (n,) that have one."""
        return self._exact[numbers]

    def centroid(self, leaf: int) -> Floats | None:
        """The centroid (d,) of a leaf; None when it has none."""
        number = self._numbers.get(leaf)
        if number is None or np.isnan(self.arrays.leaves.steps[number]):
            return None
        centroid: Floats = self._exact[number].copy()
        return centroid

    def mentioned(self) -> list[int]:
        """All packed leaves that have a number."""
        return list(self._numbers)

    def marks(self) -> dict[str, NDArray[Any]]:
        """The leaves (n,), and for each what changes with its centroid."""
        leaves = np.fromiter(self._numbers, dtype=np.int64, count=len(self._numbers))
        numbers = np.fromiter(self._numbers.values(), dtype=np.int64, count=len(leaves))
        held = self.arrays.leaves
        return {"leaves": leaves, "marks": np.stack([held.steps[numbers], held.biases[numbers]], axis=1)}

    def changed_since(self, then: Archive) -> Numbers:
        """Numbers of leaves with a centroid that is another than by `marks` of then, or that are new."""
        now = self.marks()
        before = dict(zip(then["leaves"].tolist(), then["marks"].tolist(), strict=True))
        changed = [
            self._numbers[leaf]
            for leaf, mark in zip(now["leaves"].tolist(), now["marks"].tolist(), strict=True)
            if mark[0] == mark[0] and before.get(leaf) != mark
        ]
        return np.array(changed, dtype=np.int64)

    def put(self, leaves: Sequence[int] | Numbers, centroids: Floats) -> None:
        """Give packed leaves (n,) these centroids (n, d); leaves that take no documents yet now do."""
        codes = np.asarray(leaves, dtype=np.int64)
        wide = padded(np.ascontiguousarray(centroids, dtype=np.float32))
        numbers = np.array([self.number(leaf) for leaf in codes.tolist()], dtype=np.int64)
        self._take_from_sums(codes, numbers)
        self._exact[numbers] = wide[:, : self.dimension]
        put_centroids(self.arrays.leaves, numbers, wide)
        self._add_to_sums(codes, wide, 1)
        self.every.insert(split_codes(codes), numbers)

    def close(self, leaf: int) -> None:
        """A leaf takes no documents any more; those in it are found as before."""
        self.every.delete(split_codes(np.array([leaf])))

    def forget(self, leaf: int) -> None:
        """Drop a leaf whose last document is gone. Its number is used again when no reader can hold it."""
        self.close(leaf)
        number = self._numbers.pop(leaf, None)
        if number is not None:
            self._take_from_sums(np.array([leaf]), np.array([number]))
            self._retired.add([number])

    def learn(self, level: int, prefixes: Numbers, embeddings: Floats, offsets: Floats) -> None:
        """Take in a decoder's nodes of one level: prefixes (n,), embeddings (n, h), offsets (n,)."""
        is_leaf = level == LEAF_LEVELS - 1
        known = [self.number(prefix) if is_leaf else prefix for prefix in prefixes.tolist()]
        numbers = np.array(known, dtype=np.int64)
        old = self.arrays[level]
        fresh = old._replace(
            embeddings=np.zeros((len(old.steps), embeddings.shape[1]), dtype=np.float32),
            offsets=np.full(len(old.steps), np.nan, dtype=np.float32),
        )
        fresh.embeddings[numbers] = embeddings
        fresh.offsets[numbers] = offsets
        self._replace(level, fresh)

    def unlearn(self) -> None:
        """Back to geometry alone."""
        for level in range(LEAF_LEVELS):
            self._replace(level, self.arrays[level]._replace(embeddings=np.zeros((0, 0), dtype=np.float32)))

    def nearest(self, vectors: Floats, k: int, *, beam: int = BEAM) -> tuple[Numbers, Floats, Numbers]:
        """The k nearest leaves that take documents, of vectors (n, d): packed leaves (n, k), squared distances
        (n, k), both best first, and how many there are (n,)."""
        found = self.route(vectors, k, among=self.every, beam=beam, length_penalty=1.0)
        squares = np.einsum("ij,ij->i", vectors, vectors)[:, None]
        return found.leaves, np.maximum(squares - 2 * found.geometry, 0), found.counts

    def route(
        self,
        vectors: Floats,
        k: int,
        *,
        among: LiveTrie,
        beam: int = BEAM,
        length_penalty: float = 0.0,
        learned: Learned | None = None,
        may_open: NDArray[np.bool_] | None = None,
    ) -> Routed:
        """The k best leaves in the trie `among` for vectors (n, d).

        length_penalty: what half the squared length of a leaf counts against its inner product: 0 orders by inner
        product, 1 by distance. may_open: by number; others are left out, and so are subcategories without one.
        """
        n = len(vectors)
        whole, steps = in_whole_numbers(padded(np.ascontiguousarray(vectors, dtype=np.float32)))
        found = Routed(
            leaves=np.empty((n, k), dtype=np.int64),
            numbers=np.empty((n, k), dtype=np.int64),
            geometry=np.empty((n, k), dtype=np.float32),
            learned=np.zeros((n, k), dtype=np.float32),
            counts=np.empty(n, dtype=np.int64),
        )
        heads, weight, sharpness = learned or _NOT_LEARNED
        with self.readers.reading():
            children, arrays = among.arrays.children, self.arrays
            route(
                children.extents, children.pool, arrays, whole, steps, np.float32(length_penalty), heads,
                np.float32(weight), np.float32(sharpness), beam,
                _ALL if may_open is None else may_open,
                _ALL if may_open is None else self._branches_above(may_open),
                found.numbers, found.leaves, found.geometry, found.learned, found.counts,
            )  # fmt: skip
        return found

    def log_probabilities(
        self, direction: Floats, leaves: Numbers, *, among: LiveTrie, learned: Learned | None = None
    ) -> Floats:
        """log p of each level of packed leaves (n,) given the one above, shape (n, 3), for a vector (d,).

        The decoder's, where there is one; else log-softmax of geometry among the live siblings. -inf where a leaf
        is not live.
        """
        whole, steps = in_whole_numbers(padded(direction[None, :]))
        heads, _, sharpness = learned or _NOT_LEARNED
        logs = np.empty((len(leaves), LEAF_LEVELS), dtype=np.float32)
        with self.readers.reading():
            leaf_log_probabilities(
                among.arrays,
                split_codes(leaves),
                self.arrays,
                whole,
                steps[0],
                heads,
                np.float32(sharpness),
                logs,
            )
        return logs

    def __len__(self) -> int:
        """How many leaves take documents."""
        return len(self.every)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that hold something."""
        leaves = len(self._numbers) * (self.arrays.leaves.centroids.shape[1] + 4 * self.dimension)
        return int(leaves + self.every.nbytes)

    def _new_number(self, leaf: int) -> int:
        for freed in self._retired.free():
            self._free += freed
        number = self._free.pop() if self._free else len(self._numbers) + len(self._retired)
        if number >= len(self._codes):
            self._grow(2 * len(self._codes))
        self.arrays.leaves.steps[number] = np.nan
        self._codes[number] = leaf
        self._numbers[leaf] = number
        return number

    def _grow(self, room: int) -> None:
        self._codes, self._exact = grown(self._codes, room, _NONE), grown(self._exact, room, 0)
        old = self.arrays.leaves
        leaves = LevelArrays(
            centroids=grown(old.centroids, room, None),
            steps=np.full(room, np.nan, dtype=np.float32),
            biases=grown(old.biases, room, 0),
            embeddings=grown(old.embeddings, room, 0) if len(old.embeddings) else old.embeddings,
            offsets=np.full(room, np.nan, dtype=np.float32),
        )
        leaves.steps[: len(old.steps)] = old.steps
        leaves.offsets[: len(old.offsets)] = old.offsets
        self._replace(LEAF_LEVELS - 1, leaves)

    def _replace(self, level: int, changed: LevelArrays) -> None:
        arrays = list(self.arrays)
        arrays[level] = changed
        self.arrays = Tree(*arrays)

    def _branches_above(self, may_open: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """By packed subcategory, whether it holds a leaf that may be opened."""
        above = np.zeros(_BRANCHES, dtype=np.bool_)
        above[self._codes[np.flatnonzero(may_open)] >> CLUSTER_BITS] = True
        return above

    def _take_from_sums(self, codes: Numbers, numbers: Numbers) -> None:
        had = ~np.isnan(self.arrays.leaves.steps[numbers])
        if had.any():
            self._add_to_sums(codes[had], padded(self._exact[numbers[had]]), -1)
            self.arrays.leaves.steps[numbers[had]] = np.nan

    def _add_to_sums(self, codes: Numbers, centroids: Floats, sign: int) -> None:
        """A node's centroid is the mean of the leaves below it."""
        for level in range(LEAF_LEVELS - 1):
            nodes = codes >> LEVEL_SHIFTS[level]
            order = np.argsort(nodes, kind="stable")
            changed, first, added = np.unique(nodes[order], return_index=True, return_counts=True)
            self._sums[level][changed] += sign * np.add.reduceat(centroids[order], first, axis=0)
            self._counts[level][changed] += sign * added
            counts = self._counts[level][changed]
            means = self._sums[level][changed] / np.maximum(counts, 1)[:, None]
            put_centroids(self.arrays[level], changed, means.astype(np.float32))
            self.arrays[level].steps[changed[counts == 0]] = np.nan


def split_codes(leaves: Numbers) -> NDArray[np.int64]:
    """Packed leaves (n,) as rows of three codes."""
    return np.stack(
        [leaves >> LEVEL_SHIFTS[0], leaves >> CLUSTER_BITS & SUBCATEGORIES - 1, leaves & CLUSTERS - 1], axis=1
    )


def _level(nodes: int, width: int) -> LevelArrays:
    return LevelArrays(
        centroids=np.zeros((nodes, width), dtype=np.int8),
        steps=np.full(nodes, np.nan, dtype=np.float32),
        biases=np.zeros(nodes, dtype=np.float32),
        embeddings=np.zeros((0, 0), dtype=np.float32),
        offsets=np.full(nodes, np.nan, dtype=np.float32),
    )


_ALL: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
_NOT_LEARNED = Learned(np.zeros((0, LEAF_LEVELS, 0), dtype=np.float32), 0.0)
