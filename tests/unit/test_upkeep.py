"""Upkeep beside a live index, without a broker: what is published is applied as the log would bring it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from agents import upkeep as upkeep_module
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


def scattered(documents: int, *, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(documents, DIMENSION)).astype(np.float32)


class World:
    """A live index, its tree, and a log that carries out each move when it is told to."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        leaves = np.array([Leaf(0, 0, 0).packed(), Leaf(0, 1, 0).packed()])
        self.book = Codebook.of(leaves, self.vectors[:2], epoch=EPOCH, stamp="s", fitted_on=2)
        self.index = LiveIndex(DIMENSION)
        self.keeper = IndexTrees(self.index)
        self.keeper.fitted(self.book)
        self.index.activate(EPOCH)
        self.moves: list[Move] = []
        self.upkeep = Upkeep(self.index, self._publish)
        self.given = 0
        self._insert(0)

    def come(self, vectors: NDArray[np.float32]) -> None:
        """More documents, noted as the log brings them."""
        first = len(self.vectors)
        self.vectors = np.concatenate([self.vectors, vectors])
        self._insert(first)

    def _insert(self, first: int) -> None:
        for number, leaf in enumerate(self.book.nearest(self.vectors[first:], 1)[0][:, 0].tolist(), first):
            self._note(number, self._put(number, leaf))

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
            number = int(move.document_id[1:])
            self._note(number, self._put(number, Leaf.parse(move.to_leaf).packed()))
        self.moves = []

    def _note(self, number: int, semantic_id: str) -> None:
        assignment = Assignment(
            ids=[EpochId(epoch=EPOCH, semantic_id=semantic_id)],
            modality="vector",
            vectors=[],
            content_hash="x",
            source=SourceAddress(partition=0, offset=0),
        )
        self.upkeep.note([LogRecord(0, 0, f"d{number:04}", assignment, None)])

    def run(self) -> list[str]:
        reasons = []
        while (decision := self.upkeep.step(self.book)) is not None and len(reasons) < 100:
            reasons.append(decision.reason)
            self.carry_out()
        return reasons


def test_leaves_that_are_too_large_are_split_until_none_is() -> None:
    world = World(scattered(1_500))
    assert "split" in world.run()
    leaves, sizes = world.index.path(EPOCH).sizes()
    assert sizes.max() <= 256
    assert sizes.sum() == 1_500
    assert set(leaves.tolist()) <= set(world.book.leaves.tolist())


def test_nothing_more_is_decided_about_leaves_whose_documents_are_still_on_the_move() -> None:
    world = World(scattered(600))
    assert world.upkeep.step(world.book) is not None
    moving = {move.document_id for move in world.moves}
    assert world.upkeep.moving == len(moving) > 0
    decided = world.upkeep.step(world.book)
    again = {move.document_id for move in world.moves} - moving
    assert decided is None or not again & moving
    world.carry_out()
    assert world.upkeep.moving == 0


def test_a_small_tree_in_good_order_is_left_alone() -> None:
    world = World(scattered(100))
    assert world.run() == []
    assert world.moves == []


def test_centroids_follow_what_their_leaves_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "TIDY_EVERY", 50)
    world = World(scattered(200))
    assert world.run() == []
    leaf = int(world.book.leaves[0])
    world.come(scattered(60, seed=1) / 10 + 2 * world.book.centroids[0])  # all on one side
    before = world.book.centroid(leaf)
    middle = world.index.fused(world.index.path(EPOCH).below(Leaf.unpacked(leaf))).mean(axis=0)
    assert world.run() == ["recentre"]
    after = world.book.centroid(leaf)
    assert before is not None
    assert np.abs(before - middle).max() > 0.1
    assert after == pytest.approx(middle, abs=0.05)
    assert world.run() == []
