"""The graph and its one writer: nodes come in, removed ones are mended around and used again."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.dense.enlarging import enlarged, more_than
from state.dense.graph import (
    HIDDEN,
    LEAVING,
    MOST_LANDMARKS,
    REMOVED,
    Graph,
    Landmarks,
    new_graph,
    new_landmarks,
)
from state.dense.linking import new_room, place
from state.dense.unlinking import mend
from state.dense.walking import Scratch, new_scratch
from state.readers import Readers, Retired

_MENDED_AT = 0.05
"""Share of nodes that must be removed before the lists are mended: walks pass through them until then."""
_SEED = 0


class Walkable(NamedTuple):
    """What a walk needs. Swapped as one when the graph grows; a walk keeps what it began with."""

    graph: Graph
    landmarks: Landmarks
    scratches: list[Scratch]

    def take_scratch(self) -> Scratch:
        """A scratch that nobody uses; give it back by appending it to `scratches`."""
        try:
            return self.scratches.pop()
        except IndexError:
            return new_scratch(len(self.graph.slots))


class GrowingGraph:
    """`insert` and `mend` are for the writer. `lock` guards the slots of nodes against being swapped."""

    def __init__(self, half: int, *, capacity: int, expansion: int, lock: threading.Lock) -> None:
        self.walkable = Walkable(new_graph(capacity, half), new_landmarks(half), [])
        self.readers = Readers()
        self.used = 0
        self.removed = 0
        self._expansion = expansion
        self._lock = lock
        self._room = new_room(half)
        self._random = np.random.default_rng(_SEED)
        self._landmarks = 0
        self._free: list[int] = []
        self._leaving: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._mended = 0
        self._left: Retired[NDArray[np.int64]] = Retired(self.readers)

    def __len__(self) -> int:
        """Nodes that are neither removed nor free."""
        return self.used - len(self._free) - self.removed

    def insert(self, vector: NDArray[np.float32]) -> int:
        """A new node, linked and hidden."""
        if self._free:
            node = self._free.pop()
        else:
            if self.used == len(self.walkable.graph.slots):
                self._grow()
            node = self.used
            self.used += 1
        graph, landmarks, scratches = self.walkable
        scratch = self.walkable.take_scratch()
        place(graph, landmarks, node, vector, self._expansion, scratch, self._room)
        scratches.append(scratch)
        self._consider_landmark(node)
        return node

    @classmethod
    def restored(
        cls,
        graph: Graph,
        landmarks: NDArray[np.int32],
        *,
        used: int,
        expansion: int,
        lock: threading.Lock,
    ) -> GrowingGraph:
        """A graph whose arrays were read from disk, `used` rows of them in use."""
        restored = cls(graph.codes.shape[1], capacity=0, expansion=expansion, lock=lock)
        restored.used = used
        restored.walkable = Walkable(graph, restored.walkable.landmarks, [])
        restored.removed = int((graph.slots[:used] == REMOVED).sum())
        restored._free = np.flatnonzero(graph.slots[:used] == HIDDEN).tolist()
        for mark, node in enumerate(landmarks.tolist()):
            restored._set_landmark(mark, node)
        restored._landmarks = len(landmarks)
        return restored

    @property
    def landmarks(self) -> NDArray[np.int32]:
        """The nodes at which walks start (a copy)."""
        return self.walkable.landmarks.nodes[: self._landmarks].copy()

    def mend(self, most: int) -> bool:
        """Mend up to `most` lists, if enough nodes are removed. Returns whether there is more to do."""
        if len(self._left):
            for nodes in self._left.free():
                self._use_again(nodes)
            return True
        if not len(self._leaving) and not self._begin():
            return False
        graph, landmarks, scratches = self.walkable
        scratch = self.walkable.take_scratch()
        last = min(self._mended + most, self.used)
        mend(graph, landmarks, self._mended, last, self._expansion, scratch, self._room)
        scratches.append(scratch)
        self._mended = last
        if last == self.used:
            self._left.add(self._leaving)
            self._leaving = self._leaving[:0]
        return True

    def _begin(self) -> bool:
        if self.removed <= _MENDED_AT * self.used:
            return False
        slots = self.walkable.graph.slots[: self.used]
        self._leaving = np.flatnonzero(slots == REMOVED)
        slots[self._leaving] = LEAVING
        self._mended = 0
        self._replace_landmarks(np.flatnonzero(slots >= 0))
        return True

    def _use_again(self, nodes: NDArray[np.int64]) -> None:
        graph = self.walkable.graph
        graph.links[nodes, 0] = 0
        graph.slots[nodes] = HIDDEN
        self._free.extend(nodes.tolist())
        with self._lock:
            self.removed -= len(nodes)

    # -- landmarks: a random sample of about sqrt(n) nodes ------------------------------------------------

    def _consider_landmark(self, node: int) -> None:
        count, nodes = self._landmarks, len(self)
        if count < MOST_LANDMARKS and count * count < nodes:
            self._landmarks += 1
            self._set_landmark(count, node)
        elif self._random.random() * nodes < count:
            self._set_landmark(int(self._random.integers(count)), node)

    def _set_landmark(self, mark: int, node: int) -> None:
        graph, landmarks, _ = self.walkable
        landmarks.codes[mark] = graph.codes[node]
        landmarks.weights[mark] = graph.weights[node]
        landmarks.nodes[mark] = node

    def _replace_landmarks(self, staying: NDArray[np.int64]) -> None:
        """No walk that begins after this starts at a node that leaves."""
        graph, landmarks, _ = self.walkable
        if not len(staying):
            landmarks.nodes[: self._landmarks] = HIDDEN
            self._landmarks = 0
        for mark in range(self._landmarks):
            if graph.slots[landmarks.nodes[mark]] < HIDDEN:
                self._set_landmark(mark, int(self._random.choice(staying)))

    def _grow(self) -> None:
        old, landmarks, _ = self.walkable
        room = more_than(len(old.slots))
        codes, weights = enlarged(old.codes, room), enlarged(old.weights, room)
        links = enlarged(old.links, room)
        # A walk in the old arrays must never start at a node that only the new ones have.
        copied = Landmarks(landmarks.nodes.copy(), landmarks.codes.copy(), landmarks.weights.copy())
        with self._lock:  # `remove` writes slots
            slots = enlarged(old.slots, room, HIDDEN)
            self.walkable = Walkable(Graph(codes, weights, links, slots), copied, [])
