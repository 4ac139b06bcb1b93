"""Where a document belongs in each live epoch: nearest leaf, with hysteresis for documents that change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.codebook_log import Codebooks
from agents.epochs import PROVISIONAL
from agents.trees import Trees
from models.codebooks import HYSTERESIS
from state.allocation import Allocator
from state.shard import Shard
from streams.semantic_id import INSTANCE_BITS, Leaf

CANDIDATES = 8
"""Leaves to fall back on, in order of distance, when the best is full."""


class Placement:
    """Ids for the documents of one partition. What a batch was given is taken back by `discard`."""

    def __init__(self, shard: Shard, *, partition: int, partitions: int, trees: Trees) -> None:
        self._allocator = Allocator(shard, partition=partition, partitions=partitions)
        self._trees = trees

    def place(
        self, vector: NDArray[np.float32], codebooks: Codebooks, current: dict[int, int]
    ) -> dict[int, int]:
        """Packed ids by epoch for a vector (d,); `current` holds those that the document has."""
        ids = {}
        for epoch in codebooks.live_epochs():
            if epoch == PROVISIONAL:
                given = current.get(PROVISIONAL)
                ids[epoch] = given if given is not None else self._allocator.allocate_provisional().packed()
            else:
                packed = self._in_tree(vector, epoch, current.get(epoch))
                if packed is not None:
                    ids[epoch] = packed
        return ids

    def allocate(self, epoch: int, leaves: Sequence[Leaf]) -> int:
        """A packed id in the first of the leaves that has room."""
        return self._allocator.allocate(epoch, leaves).packed()

    def discard(self) -> None:
        self._allocator.discard()

    def _in_tree(self, vector: NDArray[np.float32], epoch: int, current: int | None) -> int | None:
        """None for a tree that was dropped a moment ago."""
        found = self._trees.nearest(epoch, vector, CANDIDATES)
        if found is None:
            return None
        leaves, distances = found
        if current is not None:
            distance = self._trees.distance_to(epoch, vector, current >> INSTANCE_BITS)
            if distance <= HYSTERESIS * distances[0]:
                return current
        return self.allocate(epoch, [Leaf.unpacked(leaf) for leaf in leaves])
