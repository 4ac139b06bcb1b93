"""The dense index against a dictionary, change by change, and while others read."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from state.dense import DenseIndex

DIMENSION = 24
SLOTS = 25
slots = st.integers(0, SLOTS - 1)
puts = st.tuples(st.just("put"), slots, st.integers(1, 3))
removals = st.tuples(st.just("remove"), slots, st.just(0))
mendings = st.tuples(st.just("mend"), st.just(0), st.integers(1, 40))
restarts = st.tuples(st.just("restart"), st.just(0), st.just(0))
changes = st.lists(st.one_of(puts, puts, puts, removals, removals, mendings, restarts), max_size=120)


class Twin:
    """Slots with their vectors and the identity of each content, and a dense index that holds the same."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = np.random.default_rng(seed)
        self.index = DenseIndex(DIMENSION, capacity=4)
        self.held: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self._file = folder / "dense.npz"
        self._identity = 0

    def change(self, what: str, slot: int, count: int) -> None:
        if what == "put":
            self._identity += 1
            vectors = directions(count, self.random)
            self.held[slot] = (self._identity, vectors)
            version = self.index.version(slot)
            assert self.index.put(slot, list(vectors), identity=self._identity, version=version)
        elif what == "remove":
            self.held.pop(slot, None)
            self.index.remove(slot)
        elif what == "mend":
            self.index.upkeep(count)
        else:
            self._restart()

    def _restart(self) -> None:
        self.index.save(self._file, stamp="s")
        moved = self.random.permutation(SLOTS)  # after a start documents are in other slots
        self.held = {int(moved[slot]): content for slot, content in self.held.items()}
        self.index = DenseIndex.load(
            self._file,
            stamp="s",
            slots=np.array(list(self.held), dtype=np.int32),
            identities=np.array([identity for identity, _ in self.held.values()], dtype=np.int64),
        )


def directions(count: int, random: np.random.Generator) -> NDArray[np.float32]:
    vectors = random.normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(changes=changes, seed=st.integers(0, 5))
def test_every_document_is_found_by_each_of_its_vectors_and_nothing_else_is(
    changes: list[tuple[str, int, int]], seed: int
) -> None:
    with TemporaryDirectory() as folder:
        twin = Twin(seed, Path(folder))
        for change in changes:
            twin.change(*change)
        query = directions(1, twin.random)[0]
        found, scores = twin.index.search(query, SLOTS, expansion=4 * SLOTS)
        assert sorted(found.tolist()) == sorted(twin.held)
        assert len(twin.index) == len(twin.held)
        best = [float((twin.held[slot][1] @ query).max()) for slot in found.tolist()]
        np.testing.assert_allclose(scores, best, atol=0.12)
        for slot, (_, vectors) in twin.held.items():
            for vector in vectors:
                assert twin.index.search(vector, 1, expansion=20)[0].tolist() == [slot]


class History:
    """Which contents a slot had, and from when to when."""

    def __init__(self, slots: int) -> None:
        self.clock = 0
        self.spans: list[list[list[float]]] = [[] for _ in range(slots)]  # [content, from, to]

    def had(self, slot: int, began: int, ended: int) -> list[int]:
        return [
            int(content)
            for content, since, until in list(self.spans[slot])
            if since <= ended and until >= began
        ]


class Reader:
    """Searches over and over, and holds against the history what it is answered."""

    def __init__(self, index: DenseIndex, vectors: NDArray[np.float32], history: History, seed: int) -> None:
        self.faults: list[str] = []
        self._index, self._vectors, self._history = index, vectors, history
        self._random = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.is_set():
            query = self._vectors[self._random.integers(len(self._vectors))]
            allowed = self._random.random(130) < self._random.choice([0.1, 1.0])
            began = self._history.clock
            found, scores = self._index.search(query, 20, expansion=40, allowed=allowed)
            self._hold(query, allowed, found, scores, began, self._history.clock)

    def _hold(
        self,
        query: NDArray[np.float32],
        allowed: NDArray[np.bool_],
        found: NDArray[np.int64],
        scores: NDArray[np.float32],
        began: int,
        ended: int,
    ) -> None:
        if len(set(found.tolist())) != len(found) or not allowed[found].all():
            self.faults.append(f"doubles, or some that are not allowed, in {found}")
        for slot, score in zip(found.tolist(), scores.tolist(), strict=True):
            had = self._history.had(slot, began, ended)
            products = [float(self._vectors[content] @ query) for content in had]
            if not any(abs(score - product) < 0.15 for product in products):
                self.faults.append(f"slot {slot} scored {score}, it had {products}")


@pytest.fixture
def threads_take_turns_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("threads_take_turns_often")
def test_readers_beside_a_writer_see_live_documents_once_with_their_own_scores() -> None:
    random = np.random.default_rng(0)
    vectors = directions(3000, random)
    index, history = DenseIndex(DIMENSION, capacity=4), History(150)
    readers = [Reader(index, vectors, history, seed) for seed in (1, 2)]
    for content in range(len(vectors)):
        slot = int(random.integers(150))
        history.clock += 1
        index.remove(slot)
        if history.spans[slot]:
            history.spans[slot][-1][2] = history.clock
        history.clock += 1
        if random.random() < 0.8:
            history.spans[slot].append([content, history.clock, np.inf])
            index.put(slot, [vectors[content]], identity=content, version=index.version(slot))
        index.upkeep(16)
    for reader in readers:
        reader.stop()
    assert [fault for reader in readers for fault in reader.faults] == []
    # Places of removed vectors were used again: how many, depends on how long a reader was kept from its end.
    assert index.nodes < sum(len(spans) for spans in history.spans)
