"""The dense index: documents whose vectors are nearest to a query, found by walking a graph."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from state.dense.enlarging import enlarged, more_than
from state.dense.graph import HIDDEN, REMOVED, Graph
from state.dense.growing import GrowingGraph
from state.dense.nibbles import half_of
from state.dense.path import check_vectors
from state.dense.snapshot import Snapshot, SnapshotNote, read_snapshot, write_snapshot
from state.dense.walking import find

T = TypeVar("T", bound=np.generic)
_NONE = -1
_EVERY: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
_NOTHING: NDArray[np.bool_] = np.zeros(1, dtype=np.bool_)


class DenseIndex:
    """Documents by their slots, each with one or more vectors of `dimension` numbers.

    Scores are inner products with vectors held in four bits a number: ask for a few times as many documents
    as are wanted, and score these by exact vectors.

    `put`, `upkeep` and `save` are for one writer thread, `remove` and `search` for any. A search waits for
    nobody. A document that was removed is not in an answer that is asked for afterwards; a slot that is used
    again answers with its new vectors or not at all.
    """

    def __init__(self, dimension: int, *, capacity: int = 1 << 16, expansion: int = 128) -> None:
        """`capacity`: vectors to make room for at once. `expansion`: how many candidates a new one weighs."""
        self.dimension = dimension
        self._lock = threading.Lock()  # guards slots of nodes, and what is kept by slot
        self._graph = GrowingGraph(
            half_of(dimension), capacity=capacity, expansion=expansion, lock=self._lock
        )
        self._identities: NDArray[np.int64] = np.zeros(capacity, dtype=np.int64)  # by node
        self._next: NDArray[np.int32] = np.full(capacity, _NONE, dtype=np.int32)  # by node
        self._first: NDArray[np.int32] = np.full(capacity, _NONE, dtype=np.int32)  # by slot
        self._versions: NDArray[np.uint32] = np.zeros(capacity, dtype=np.uint32)  # by slot
        self._documents = 0

    def __len__(self) -> int:
        """How many documents can be answered."""
        return self._documents

    def __contains__(self, slot: int) -> bool:
        return slot < len(self._first) and self._first[slot] != _NONE

    @property
    def nodes(self) -> int:
        """Places for vectors that were ever used: removed vectors leave theirs to new ones."""
        return self._graph.used

    def version(self, slot: int) -> int:
        """A number that changes with each `remove`: ask for it before the vectors for `put` are read."""
        with self._lock:
            self._make_room(slot)
            return int(self._versions[slot])

    def put(self, slot: int, vectors: Sequence[NDArray[np.float32]], *, identity: int, version: int) -> bool:
        """Hold these vectors for a slot, in place of those it has.

        `identity`: 64 bits that no other content of any document has; a snapshot is matched by it. False,
        and nothing is held, when the slot was removed since it had this `version`. Raises ValueError when a
        vector has another dimension.
        """
        check_vectors(vectors, self.dimension)
        nodes = [self._graph.insert(_plain(each, np.float32)) for each in vectors]
        with self._lock:
            self._make_room(slot)
            if int(self._versions[slot]) != version:
                self._graph.walkable.graph.slots[nodes] = REMOVED
                self._graph.removed += len(nodes)
                return False
            self._drop(slot)
            self._hold(slot, nodes, identity)
            return True

    def remove(self, slot: int) -> None:
        """Answer a slot no more."""
        with self._lock:
            self._make_room(slot)
            self._versions[slot] += 1
            self._drop(slot)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        expansion: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest documents to a query (d,), best first: slots and scores, fewer than k where a document
        has several vectors among the nearest.

        `expansion` (k at least): how many nodes are kept on the way; more find more. `allowed`: by slot,
        whether it may be answered; slots beyond its end may not. With few allowed the walk gets long: below
        some per cent a scan of them is faster.
        """
        check_vectors([query], self.dimension)
        if allowed is None:
            allowed = _EVERY
        elif not len(allowed):
            allowed = _NOTHING
        numbers, among = _plain(query, np.float32), _plain(allowed, np.bool_)
        found, scores = np.empty(k, dtype=np.int32), np.empty(k, dtype=np.float32)
        with self._graph.readers.reading():
            graph, landmarks, scratches = walkable = self._graph.walkable
            scratch = walkable.take_scratch()
            count = find(graph, landmarks, numbers, max(expansion, k), among, scratch, found, scores)
            scratches.append(scratch)
        return found[:count].astype(np.int64), scores[:count]

    def upkeep(self, most: int) -> bool:
        """Mend up to `most` lists of links around removed vectors; returns whether there is more to do."""
        return self._graph.mend(most)

    def save(self, path: Path, *, stamp: str) -> None:
        """Write what is held to one file, with the stamp of the encoder that made the vectors."""
        graph, used = self._graph.walkable.graph, self._graph.used
        with self._lock:
            slots = graph.slots[:used].copy()
        parts = Snapshot(
            codes=graph.codes[:used],
            weights=graph.weights[:used],
            links=graph.links[:used],
            identities=self._identities[:used],
            slots=slots,
            landmarks=self._graph.landmarks,
        )
        write_snapshot(path, SnapshotNote(stamp=stamp, dimension=self.dimension, nodes=used), parts)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        stamp: str,
        slots: NDArray[np.int32],
        identities: NDArray[np.int64],
        expansion: int = 128,
    ) -> DenseIndex:
        """Read what was saved, for live documents (n,) given by slot and identity.

        What is of no live document is left out; live documents that are not in the file are not in the index
        (`in` tells), and are to be put. Raises StateError when the file cannot be used: delete it, and put
        every document.
        """
        note, parts = read_snapshot(path, stamp=stamp)
        index = cls(note.dimension, capacity=0, expansion=expansion)
        held = _slots_now(parts, slots, identities)
        roomy = enlarged(held, len(parts.codes), HIDDEN)
        index._graph = GrowingGraph.restored(
            Graph(parts.codes, parts.weights, parts.links, roomy),
            parts.landmarks,
            used=note.nodes,
            expansion=expansion,
            lock=index._lock,
        )
        index._identities = parts.identities
        index._relist(held)
        return index

    def _relist(self, held: NDArray[np.int32]) -> None:
        """Chain nodes by slot again."""
        nodes = np.flatnonzero(held >= 0)
        nodes = nodes[np.argsort(held[nodes], kind="stable")]
        by_slot = held[nodes]
        again = by_slot[1:] == by_slot[:-1]
        self._next = np.full(len(held), _NONE, dtype=np.int32)
        self._next[nodes[1:][again]] = nodes[:-1][again]
        most = int(by_slot[-1]) + 1 if len(by_slot) else 0
        self._first = np.full(most, _NONE, dtype=np.int32)
        self._first[by_slot] = nodes  # the last of equal ones, which the others hang on
        self._versions = np.zeros(most, dtype=np.uint32)
        self._documents = int((self._first != _NONE).sum())

    def _hold(self, slot: int, nodes: Sequence[int], identity: int) -> None:
        graph = self._graph.walkable.graph
        if len(self._next) < len(graph.slots):
            self._next = enlarged(self._next, len(graph.slots), _NONE)
            self._identities = enlarged(self._identities, len(graph.slots))
        for node in nodes:
            self._next[node] = self._first[slot]
            self._first[slot] = node
            self._identities[node] = identity
            graph.slots[node] = slot
        self._documents += bool(nodes)

    def _drop(self, slot: int) -> None:
        graph = self._graph.walkable.graph
        node = int(self._first[slot])
        self._documents -= node != _NONE
        self._first[slot] = _NONE
        while node != _NONE:
            graph.slots[node] = REMOVED
            self._graph.removed += 1
            node = int(self._next[node])

    def _make_room(self, slot: int) -> None:
        if slot >= len(self._first):
            self._first = enlarged(self._first, more_than(slot), _NONE)
            self._versions = enlarged(self._versions, more_than(slot))


def _slots_now(parts: Snapshot, slots: NDArray[np.int32], identities: NDArray[np.int64]) -> NDArray[np.int32]:
    """The slot of each saved node: that of the live document with its identity; REMOVED without one."""
    held = np.where(parts.slots == HIDDEN, HIDDEN, REMOVED).astype(np.int32)
    if len(identities):
        saved = parts.identities[: len(held)]
        order = np.argsort(identities)
        nearest = np.minimum(np.searchsorted(identities, saved, sorter=order), len(order) - 1)
        at = order[nearest]
        live = (parts.slots >= 0) & (identities[at] == saved)
        held[live] = slots[at[live]]
    return held


def _plain(array: NDArray[T], kind: type[T]) -> NDArray[T]:
    """The array, or a copy that compiled functions take: each other layout would be compiled for anew."""
    return np.require(array, kind, ["C", "W"])


def compile_dense() -> None:
    """Run everything that is compiled once, so that the first document and query need not wait for it."""
    index = DenseIndex(8, capacity=8)
    for slot, vector in enumerate(np.eye(8, dtype=np.float32)):
        index.put(slot, [vector], identity=slot, version=index.version(slot))
    index.remove(0)
    index.upkeep(8)
    index.search(np.ones(8, dtype=np.float32), 1, expansion=1)
