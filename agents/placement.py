"""Where a document belongs in each live epoch: nearest leaf, with hysteresis for documents that change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.codebook_log import PROVISIONAL, Codebooks
from models.codebooks import HYSTERESIS, Codebook
from state.allocation import Allocator
from state.shard import Shard
from streams.semantic_id import Leaf, SemanticId

CANDIDATES = 8
"""Leaves to fall back on, in order of distance, when the best is full."""


class Placement:
    """Ids for the documents of one partition. What a batch was given is taken back by `discard`."""

    def __init__(self, shard: Shard, *, partition: int, partitions: int) -> None:
        self._allocator = Allocator(shard, partition=partition, partitions=partitions)

    def place(
        self, vector: NDArray[np.float32], codebooks: Codebooks, current: dict[int, int]
    ) -> dict[int, int]:
        """Packed ids by epoch for a vector (d,); `current` holds those that the document has."""
        ids = {}
        for epoch in codebooks.live_epochs():
            tree = codebooks.trees.get(epoch)
            if tree is None:
                given = current.get(PROVISIONAL)
                ids[epoch] = given if given is not None else self._allocator.allocate_provisional().packed()
            else:
                ids[epoch] = self._in_tree(vector, tree, current.get(epoch))
        return ids

    def allocate(self, epoch: int, leaves: Sequence[Leaf]) -> int:
        """A packed id in the first of the leaves that has room."""
        return self._allocator.allocate(epoch, leaves).packed()

    def discard(self) -> None:
        self._allocator.discard()

    def _in_tree(self, vector: NDArray[np.float32], tree: Codebook, current: int | None) -> int:
        codes, distances = tree.nearest(vector[None, :], CANDIDATES)
        if current is not None:
            distance = tree.distance_to(vector, SemanticId.unpacked(current).leaf)
            if distance <= HYSTERESIS * float(distances[0, 0]):
                return current
        return self.allocate(tree.epoch, [Leaf.unpacked(int(code)) for code in codes[0]])
