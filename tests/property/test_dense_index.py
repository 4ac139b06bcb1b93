"""The dense index against a dictionary, change by change, and while others read."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
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


def test_readers_beside_a_writer_see_live_documents_once_with_their_own_scores() -> None:
    random = np.random.default_rng(0)
    vectors = directions(3000, random)
    index, history, stop, faults = DenseIndex(DIMENSION, capacity=64), History(150), threading.Event(), []

    def read(seed: int) -> None:
        mine = np.random.default_rng(seed)
        while not stop.is_set():
            query = vectors[mine.integers(len(vectors))]
            began = history.clock
            found, scores = index.search(query, 20, expansion=40)
            ended = history.clock
            if len(set(found.tolist())) != len(found):
                faults.append(f"doubles in {found}")
            for slot, score in zip(found.tolist(), scores.tolist(), strict=True):
                products = [float(vectors[content] @ query) for content in history.had(slot, began, ended)]
                if not any(abs(score - product) < 0.15 for product in products):
                    faults.append(f"slot {slot} scored {score}, it had {products}")

    readers = [threading.Thread(target=read, args=(seed,)) for seed in (1, 2)]
    for reader in readers:
        reader.start()
    for content in range(len(vectors)):
        slot = int(random.integers(150))
        history.clock += 1
        index.remove(slot)
        if history.spans[slot]:
            history.spans[slot][-1][2] = history.clock
        history.clock += 1
        history.spans[slot].append([content, history.clock, np.inf])
        index.put(slot, [vectors[content]], identity=content, version=index.version(slot))
        index.upkeep(16)
    stop.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert index.nodes < 400  # places of removed vectors were used again
