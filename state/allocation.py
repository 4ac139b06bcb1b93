"""Handing out semantic ids. Partition p of P owns the instance codes that are p modulo P, in every leaf."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from state.shard import Shard
from streams.errors import StateError
from streams.semantic_id import CLUSTERS, INSTANCES, Leaf, SemanticId

PROVISIONAL_EPOCH = 0
PROVISIONAL_LEAF_SIZE = 256


class Allocator:
    """Gives ids against a shard and an overlay of what was given but not applied yet.

    The counters of the shard rise only when the log record of an id is applied. Once applied, the overlay
    says nothing new; a batch that was not published is taken back by `discard`.
    """

    def __init__(self, shard: Shard, *, partition: int, partitions: int) -> None:
        if not 0 <= partition < partitions <= INSTANCES:
            raise ValueError(f"partition {partition} of {partitions} owns no instance codes")
        self._shard = shard
        self._partition = partition
        self._partitions = partitions
        self._given: dict[tuple[int, Leaf], int] = {}

    def allocate(self, epoch: int, leaves_by_preference: Sequence[Leaf]) -> SemanticId:
        """A new id in the best leaf that has a free code of this partition.

        Raises StateError when all these leaves are full: the caller has to name more, or to split them.
        """
        for leaf in leaves_by_preference:
            instance = self._next(epoch, leaf)
            if instance < INSTANCES:
                return self._give(epoch, leaf, instance)
        raise StateError(
            f"all {len(leaves_by_preference)} named leaves of epoch {epoch} are full for partition "
            f"{self._partition}; a refit with more leaves makes room"
        )

    def allocate_provisional(self) -> SemanticId:
        """A new id of epoch 0, in the first leaf 0.0.k that is not full. Raises StateError at the end."""
        for leaf in self.provisional_leaves():
            return self._give(PROVISIONAL_EPOCH, leaf, self._next(PROVISIONAL_EPOCH, leaf))
        raise StateError(f"the provisional leaves of partition {self._partition} are full; a tree is overdue")

    def provisional_leaves(self) -> Iterator[Leaf]:
        """The leaves of epoch 0 with room for this partition; all partitions together fill one with 256.

        Each partition has at least one code in every leaf, so with over 256 partitions leaves are larger.
        """
        share = -(-PROVISIONAL_LEAF_SIZE // self._partitions)
        for cluster in range(CLUSTERS):
            leaf = Leaf(0, 0, cluster)
            if self._next(PROVISIONAL_EPOCH, leaf) < share * self._partitions:
                yield leaf

    def discard(self) -> None:
        """Take back what was given since the last applied batch: it was not published."""
        self._given.clear()

    def _next(self, epoch: int, leaf: Leaf) -> int:
        seen = max(self._shard.next_instance(epoch, leaf), self._given.get((epoch, leaf), 0))
        steps = -(-(seen - self._partition) // self._partitions)
        return self._partition + max(steps, 0) * self._partitions

    def _give(self, epoch: int, leaf: Leaf, instance: int) -> SemanticId:
        self._given[epoch, leaf] = instance + 1
        return SemanticId.of(leaf, instance)
