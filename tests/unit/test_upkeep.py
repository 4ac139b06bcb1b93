"""Upkeep beside a live index, without a broker: what is published is applied as the log would bring it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.trees import IndexTrees
from agents.upkeep import Upkeep
from models.codebooks import Codebook, LeafChange
from state.live_index import LiveDocument, LiveIndex
from state.records import LogRecord
from streams.events.assignments import Assignment, EpochId
from streams.events.base import SourceAddress
from streams.events.codebooks import Move
from streams.semantic_id import INSTANCE_BITS, Leaf, SemanticId

DIMENSION = 16
EPOCH = 1


class World:
    """A live index, its tree, and a log that carries out each move when it is told to."""

    def __init__(self, documents: int) -> None:
        random = np.random.default_rng(0)
        self.vectors = random.normal(size=(documents, DIMENSION)).astype(np.float32)
        leaves = np.array([Leaf(0, 0, 0).packed(), Leaf(0, 1, 0).packed()])
        self.book = Codebook.of(leaves, self.vectors[:2], epoch=EPOCH, stamp="s", fitted_on=2)
        self.index = LiveIndex(DIMENSION)
        self.keeper = IndexTrees(self.index)
        self.keeper.fitted(self.book)
        self.index.activate(EPOCH)
        self.moves: list[Move] = []
        self.upkeep = Upkeep(self.index, self._publish)
        self.given = 0
        for number, leaf in enumerate(self.book.nearest(self.vectors, 1)[0][:, 0].tolist()):
            self._put(number, leaf)

    def _publish(self, epoch: int, changes: Sequence[LeafChange], moves: Sequence[Move]) -> None:
        self.book = self.book.apply(changes)
        self.keeper.changed(epoch, changes)
        self.moves += moves

    def _put(self, number: int, leaf: int) -> str:
        self.given += 1
        packed = leaf << INSTANCE_BITS | self.given
        document = LiveDocument(f"d{number:04}", {EPOCH: packed}, [("text", self.vectors[number])], "vector")
        self.index.apply([document])
        return str(SemanticId.unpacked(packed))

    def carry_out(self) -> None:
        for move in self.moves:
            text = self._put(int(move.document_id[1:]), Leaf.parse(move.to_leaf).packed())
            assignment = Assignment(
                ids=[EpochId(epoch=EPOCH, semantic_id=text)],
                modality="vector",
                vectors=[],
                content_hash="x",
                source=SourceAddress(partition=0, offset=0),
            )
            self.upkeep.note([LogRecord(0, 0, move.document_id, assignment, None)])
        self.moves = []

    def run(self) -> list[str]:
        reasons = []
        while (decision := self.upkeep.step(self.book)) is not None and len(reasons) < 100:
            reasons.append(decision.reason)
            self.carry_out()
        return reasons


def test_leaves_that_are_too_large_are_split_until_none_is() -> None:
    world = World(1_500)
    assert "split" in world.run()
    leaves, sizes = world.index.path(EPOCH).sizes()
    assert sizes.max() <= 256
    assert sizes.sum() == 1_500
    assert set(leaves.tolist()) <= set(world.book.leaves.tolist())


def test_nothing_more_is_decided_about_leaves_whose_documents_are_still_on_the_move() -> None:
    world = World(600)
    assert world.upkeep.step(world.book) is not None
    moving = {move.document_id for move in world.moves}
    assert world.upkeep.moving == len(moving) > 0
    decided = world.upkeep.step(world.book)
    again = {move.document_id for move in world.moves} - moving
    assert decided is None or not again & moving
    world.carry_out()
    assert world.upkeep.moving == 0


def test_a_small_tree_in_good_order_is_left_alone() -> None:
    world = World(100)
    assert world.run() == []
    assert world.moves == []
