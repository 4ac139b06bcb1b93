"""Keeping a tree good between two fits: leaves are split, merged and regrouped, their documents asked to move."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from models.codebooks import (
    Codebook,
    Decision,
    LeafChange,
    Members,
    merge,
    outgrown,
    oversized,
    recentre,
    regroup,
    split,
    undersized,
)
from state.live_index import LiveIndex
from state.records import LogRecord
from streams.events.codebooks import Move
from streams.semantic_id import INSTANCE_BITS, Leaf, SemanticId

log = structlog.get_logger()

TIDY_EVERY = 1_000
"""Documents that come or go between two looks at small leaves, centroids and subcategories."""
PATIENCE_S = 60.0
"""A move that was not seen in the log by then is not waited for any more; it is decided anew."""
MOST_MOVING = 4_000
"""Documents on the move at a time: they go through the indexers, between the documents that are published."""

_Tidy = Callable[[Codebook, dict[int, int], Members], Decision | None]
Publish = Callable[[int, Sequence[LeafChange], Sequence[Move]], None]
"""Put changes of an epoch and moves on the log, in one transaction."""


@dataclass(frozen=True)
class _Moving:
    to_leaf: int
    leaves: frozenset[int]
    until: float


class Upkeep:
    """Decides from the curator's live index; `publish` makes it so. One decision a step."""

    def __init__(self, index: LiveIndex, publish: Publish) -> None:
        self._index = index
        self._publish = publish
        self._moving: dict[str, _Moving] = {}
        self._changes = 0
        self._due: list[_Tidy] = []
        self._epoch = -1
        self._size_when_set: dict[int, int] = {}
        """By leaf of that epoch, what it held when its centroid was set, or when it was first seen here."""

    def note(self, records: Sequence[LogRecord]) -> None:
        """What the log says since: moves that are done. Runs on the thread of the replica."""
        self._changes += len(records)
        for record in records:
            moving = self._moving.get(record.key)
            if moving is None:
                continue
            assignment = record.assignment
            packed = (
                ()
                if assignment is None
                else (SemanticId.parse(i.semantic_id).packed() for i in assignment.ids)
            )
            if assignment is None or moving.to_leaf in {code >> INSTANCE_BITS for code in packed}:
                self._moving.pop(record.key, None)

    def step(self, book: Codebook) -> Decision | None:
        """Look at the leaves of the active tree, decide at most once, publish; returns the decision."""
        busy = self._busy()
        if len(self._moving) >= MOST_MOVING:
            return None
        leaves, sizes = self._index.path(book.epoch).sizes()
        counts = dict(zip(leaves.tolist(), sizes.tolist(), strict=True))
        self._remember(book.epoch, counts)
        with self._index.reading():
            decision = self._decide(book, counts, busy)
            if decision is not None:
                moves = self._moves(book, decision)
                for change in decision.changes:
                    self._size_when_set.pop(change.leaf, None)
                self._publish(book.epoch, decision.changes, moves)
        if decision is not None:
            log.info(
                "tree changed",
                reason=decision.reason,
                epoch=book.epoch,
                leaves=len(decision.changes),
                moves=len(moves),
            )
        return decision

    @property
    def moving(self) -> int:
        """How many documents are on the move."""
        return len(self._moving)

    def _decide(self, book: Codebook, counts: dict[int, int], busy: frozenset[int]) -> Decision | None:
        members = self._members_of(book.epoch)
        for leaf in oversized(counts):
            if leaf in book and leaf not in busy:
                decision = split(book, leaf, members)
                if decision is not None:
                    return decision
        if self._changes >= TIDY_EVERY:
            self._changes, self._due = 0, [self._merged, self._recentred, self._regrouped]
        while self._due and not busy:
            decision = self._due.pop(0)(book, counts, members)
            if decision is not None:
                return decision
        return None

    def _merged(self, book: Codebook, counts: dict[int, int], members: Members) -> Decision | None:
        # What came to a leaf that was given up, on the way while that was decided, is sent on.
        stray = [leaf for leaf in counts if leaf in book.gone]
        return merge(book, [*undersized(book, counts), *stray], members)

    def _recentred(self, book: Codebook, counts: dict[int, int], members: Members) -> Decision | None:
        return recentre(book, outgrown(counts, self._size_when_set), members)

    def _regrouped(self, book: Codebook, counts: dict[int, int], members: Members) -> Decision | None:
        return regroup(book, members)

    def _remember(self, epoch: int, counts: dict[int, int]) -> None:
        if epoch != self._epoch:
            self._epoch, self._size_when_set = epoch, {}
        for leaf, count in counts.items():
            self._size_when_set.setdefault(leaf, count)

    def _members_of(self, epoch: int) -> Members:
        path = self._index.path(epoch)

        def members(leaf: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            slots = path.below(Leaf.unpacked(leaf))
            return slots, self._index.fused(slots)

        return members

    def _moves(self, book: Codebook, decision: Decision) -> list[Move]:
        until = time.monotonic() + PATIENCE_S
        touched = frozenset(change.leaf for change in decision.changes)
        moves = []
        for slot, to_leaf in zip(decision.documents.tolist(), decision.to_leaves.tolist(), strict=True):
            document_id, packed = self._index.document_id(slot), self._index.id_of(slot, book.epoch)
            if document_id is None or packed is None:
                continue
            self._moving[document_id] = _Moving(to_leaf, touched | {to_leaf, packed >> INSTANCE_BITS}, until)
            moves.append(
                Move(
                    document_id=document_id,
                    from_id=str(SemanticId.unpacked(packed)),
                    to_leaf=str(Leaf.unpacked(to_leaf)),
                    epoch=book.epoch,
                    codebook_offset=-1,
                )
            )
        return moves

    def _busy(self) -> frozenset[int]:
        """Leaves whose documents are on the move: nothing is decided about them meanwhile."""
        now = time.monotonic()
        for document_id, moving in list(self._moving.items()):
            if moving.until < now:
                self._moving.pop(document_id, None)
        return frozenset().union(*{moving.leaves for moving in list(self._moving.values())})
