from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from state.dense import DenseFollower, DenseIndex
from streams.errors import StateError

DIMENSION = 16
Vectors = NDArray[np.float32]


def direction(number: int) -> Vectors:
    vector = np.random.default_rng(number).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Documents:
    """What slots hold, and the follower that is told of it."""

    def __init__(self) -> None:
        self.held: dict[int, list[Vectors]] = {}
        self.may_read = threading.Event()
        self.may_read.set()
        self.reading = threading.Event()
        self.reads = 0
        self._changes = 0
        self.follower = DenseFollower(DenseIndex(DIMENSION), self._read)

    def put(self, slot: int, *vectors: Vectors) -> int:
        self.held[slot] = list(vectors)
        return self._tell(slot)

    def remove(self, slot: int) -> int:
        del self.held[slot]
        return self._tell(slot)

    def slots(self, query: Vectors) -> list[int]:
        return self.follower.index.search(query, 50, expansion=50)[0].tolist()

    def _tell(self, slot: int) -> int:
        self._changes += 1
        self.follower.changed(slot, at=self._changes)
        return self._changes

    def _read(self, slot: int) -> tuple[int, list[Vectors]] | None:
        content = self.held.get(slot)
        self.reads += 1
        self.reading.set()
        assert self.may_read.wait(20)
        return None if content is None else (slot, content)


@pytest.fixture
def documents() -> Iterator[Documents]:
    made = Documents()
    yield made
    made.may_read.set()
    made.follower.close()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def caught_up(documents: Documents) -> None:
    wait_until(lambda: documents.follower.behind == 0)


def test_documents_become_searchable_in_the_order_in_which_they_came(documents: Documents) -> None:
    assert (documents.follower.behind, documents.follower.reached) == (0, -1)
    for slot in range(30):
        last = documents.put(slot, direction(slot))
    wait_until(lambda: documents.follower.reached == last)
    assert documents.follower.behind == 0
    assert [documents.slots(direction(slot))[0] for slot in range(30)] == list(range(30))


def test_who_tells_of_a_change_does_not_wait_for_the_vectors(documents: Documents) -> None:
    documents.may_read.clear()
    for slot in range(5):
        documents.put(slot, direction(slot))
    assert documents.follower.behind == 5
    assert documents.follower.reached == 0
    assert documents.slots(direction(0)) == []
    documents.may_read.set()
    caught_up(documents)
    assert documents.follower.reached == 5


def test_how_far_it_is_behind_counts_the_oldest_change(documents: Documents) -> None:
    documents.may_read.clear()
    documents.put(7, direction(0))
    wait_until(documents.reading.is_set)
    documents.put(8, direction(1))
    documents.put(9, direction(2))
    documents.put(8, direction(3))  # waits already: from the second change on
    assert (documents.follower.behind, documents.follower.reached) == (3, 0)
    documents.may_read.set()
    caught_up(documents)
    assert documents.reads == 3


def test_a_changed_document_is_not_answered_from_its_old_vectors_while_it_waits(documents: Documents) -> None:
    documents.put(0, direction(0))
    caught_up(documents)
    documents.may_read.clear()
    documents.put(0, direction(1))
    assert documents.slots(direction(0)) == []
    documents.may_read.set()
    caught_up(documents)
    assert documents.slots(direction(1)) == [0]
    documents.remove(0)
    assert documents.slots(direction(1)) == []


def test_vectors_that_were_read_before_a_removal_do_not_come_back(documents: Documents) -> None:
    documents.may_read.clear()
    documents.put(0, direction(0))
    wait_until(documents.reading.is_set)  # it holds the vectors, and is held up
    documents.remove(0)
    documents.may_read.set()
    caught_up(documents)
    assert (documents.slots(direction(0)), len(documents.follower.index)) == ([], 0)


def test_a_slot_that_another_document_takes_while_it_is_read_gets_the_new_vectors(
    documents: Documents,
) -> None:
    documents.may_read.clear()
    documents.put(0, direction(0))
    wait_until(documents.reading.is_set)
    documents.remove(0)
    documents.put(0, direction(1), direction(2))
    documents.may_read.set()
    caught_up(documents)
    for number in (1, 2):
        found, scores = documents.follower.index.search(direction(number), 5, expansion=5)
        assert found.tolist() == [0]
        assert scores[0] == pytest.approx(1.0, abs=0.1)


def test_removed_vectors_are_mended_around_at_rest(documents: Documents) -> None:
    for slot in range(200):
        documents.put(slot, direction(slot))
    for slot in range(0, 200, 2):
        documents.remove(slot)
    caught_up(documents)
    wait_until(lambda: documents.follower.index._graph.removed == 0)
    assert sum(slot % 2 for slot in documents.slots(direction(1))) == 50


def test_a_snapshot_is_written_between_two_changes(documents: Documents, tmp_path: Path) -> None:
    for slot in range(100):
        documents.put(slot, direction(slot))
        if slot == 50:
            documents.follower.save(tmp_path / "dense.npz", stamp="s")
    slots = np.arange(100)
    loaded = DenseIndex.load(
        tmp_path / "dense.npz", stamp="s", slots=slots.astype(np.int32), identities=slots
    )
    assert all(loaded.search(direction(s), 1, expansion=9)[0][0] == s for s in range(100) if s in loaded)


def test_a_snapshot_that_cannot_be_written_stops_nothing(documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be written"):
        documents.follower.save(tmp_path / "file" / "dense.npz", stamp="s")
    documents.put(0, direction(0))
    caught_up(documents)
    assert documents.slots(direction(0)) == [0]


def test_a_failure_is_told_to_the_next_who_changes_something(documents: Documents, tmp_path: Path) -> None:
    documents.put(0, np.zeros(DIMENSION + 1, dtype=np.float32))
    wait_until(lambda: not documents.follower._thread.is_alive())
    with pytest.raises(StateError, match="dense path has stopped"):
        documents.put(1, direction(1))
    with pytest.raises(StateError, match="dense path has stopped"):
        documents.follower.save(tmp_path / "dense.npz", stamp="s")


def test_closing_leaves_what_waits(documents: Documents) -> None:
    documents.may_read.clear()
    for slot in range(10):
        documents.put(slot, direction(slot))
    wait_until(documents.reading.is_set)
    closing = threading.Thread(target=documents.follower.close)
    closing.start()
    wait_until(lambda: documents.follower._stopping)
    documents.may_read.set()
    closing.join()
    assert (documents.reads, documents.follower.behind) == (1, 9)
