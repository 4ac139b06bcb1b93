"""The trees of all live epochs, kept in line with the codebook log: to place documents, and to search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.codebooks import Codebook, LeafChange
from state.centroid_tree import CentroidTree
from state.live_index import LiveIndex

Vectors = NDArray[np.float32]
BEAM = 64
"""Subcategories that are opened for a document: its very nearest leaf is found in 99.3 % of cases."""


class Trees:
    """Epoch -> tree. Changed on the thread of the codebook log; read by all others without locks."""

    def __init__(self) -> None:
        self._trees: dict[int, CentroidTree] = {}

    def fitted(self, tree: Codebook) -> None:
        centroids = CentroidTree(tree.dimension, leaves=len(tree))
        centroids.put(tree.leaves, tree.centroids)
        self._trees = {**self._trees, tree.epoch: centroids}

    def changed(self, epoch: int, changes: Sequence[LeafChange]) -> None:
        tree = self._trees[epoch]
        for change in changes:
            if change.centroid is None:
                tree.forget(change.leaf)
            else:
                tree.put([change.leaf], change.centroid[None, :])

    def dropped(self, epoch: int) -> None:
        self._trees = {known: tree for known, tree in self._trees.items() if known != epoch}

    def nearest(self, epoch: int, vector: Vectors, k: int) -> tuple[list[int], list[float]] | None:
        """The k nearest packed leaves of a vector (d,) and their squared distances; None without such a tree."""
        tree = self._trees.get(epoch)
        if tree is None:
            return None
        leaves, distances, counts = tree.nearest(vector[None, :], k, beam=BEAM)
        return leaves[0, : counts[0]].tolist(), distances[0, : counts[0]].tolist()

    def distance_to(self, epoch: int, vector: Vectors, leaf: int) -> float:
        """The squared distance of a vector (d,) to a packed leaf; infinity when it takes no documents."""
        tree = self._trees.get(epoch)
        centroid = None if tree is None else tree.centroid(leaf)
        return float("inf") if centroid is None else float(np.square(vector - centroid).sum())


class IndexTrees:
    """Hands trees to a live index. An epoch is dropped there when the index has stopped serving it."""

    def __init__(self, index: LiveIndex) -> None:
        self._index = index

    def fitted(self, tree: Codebook) -> None:
        self._index.set_tree(tree.epoch, tree.leaves, tree.centroids)

    def changed(self, epoch: int, changes: Sequence[LeafChange]) -> None:
        for change in changes:
            if change.centroid is None:
                self._index.close_leaf(epoch, change.leaf)
            else:
                self._index.set_tree(epoch, np.array([change.leaf]), change.centroid[None, :])

    def dropped(self, epoch: int) -> None:
        """Nothing yet: a searcher may serve it for a moment longer."""
