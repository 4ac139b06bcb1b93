from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from state.dense import DenseIndex
from state.dense.graph import WIDTH
from state.dense.snapshot import Snapshot as Parts
from state.dense.snapshot import SnapshotNote, read_snapshot, write_snapshot
from streams.errors import StateError

DIMENSION = 16


def directions(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(index: DenseIndex, slot: int, *vectors: NDArray[np.float32], identity: int) -> None:
    index.put(slot, vectors, identity=identity, version=index.version(slot))


def filled(count: int) -> DenseIndex:
    index = DenseIndex(DIMENSION)
    for slot, vector in enumerate(directions(count)):
        put(index, slot, vector, identity=1000 + slot)
    return index


def load(path: Path, live: dict[int, int], *, stamp: str = "s") -> DenseIndex:
    """`live`: identity by slot."""
    return DenseIndex.load(
        path,
        stamp=stamp,
        slots=np.array(list(live), dtype=np.int32),
        identities=np.array(list(live.values()), dtype=np.int64),
    )


def answers(index: DenseIndex) -> list[list[list[float]]]:
    return [[part.tolist() for part in index.search(q, 20, expansion=30)] for q in directions(20, seed=9)]


def test_a_loaded_index_answers_as_the_saved_one(tmp_path: Path) -> None:
    index = filled(300)
    index.save(tmp_path / "deep" / "dense.npz", stamp="s")
    loaded = load(tmp_path / "deep" / "dense.npz", {slot: 1000 + slot for slot in range(300)})
    assert answers(loaded) == answers(index)
    assert (len(loaded), loaded.nodes) == (300, 300)


def test_documents_are_matched_by_what_they_hold_and_not_by_their_slots(tmp_path: Path) -> None:
    index = filled(10)
    put(index, 10, *directions(3, seed=4), identity=77)
    index.save(tmp_path / "dense.npz", stamp="s")
    loaded = load(tmp_path / "dense.npz", {90: 77, 5: 1000, 0: 1005, 7: 4242})
    assert len(loaded) == 3
    assert [slot in loaded for slot in (90, 5, 0, 7, 3, 10_000)] == [True, True, True, False, False, False]
    for vector in directions(3, seed=4):
        assert loaded.search(vector, 1, expansion=20)[0].tolist() == [90]
    assert sorted(loaded.search(directions(1)[0], 20, expansion=20)[0].tolist()) == [0, 5, 90]
    loaded.remove(90)
    assert sorted(loaded.search(directions(1)[0], 20, expansion=20)[0].tolist()) == [0, 5]


def test_a_loaded_index_goes_on(tmp_path: Path) -> None:
    index = filled(100)
    for slot in range(40):
        index.remove(slot)
    while index.upkeep(50):
        pass
    index.save(tmp_path / "dense.npz", stamp="s")
    loaded = load(tmp_path / "dense.npz", {slot: 1000 + slot for slot in range(50, 100)})
    for slot, vector in enumerate(directions(45, seed=3)):
        put(loaded, slot, vector, identity=slot)
        loaded.upkeep(50)
    assert len(loaded) == 95
    assert loaded.nodes == 100  # what was free or not matched was used first
    for slot, vector in enumerate(directions(45, seed=3)):
        assert loaded.search(vector, 1, expansion=30)[0].tolist() == [slot]


def test_an_empty_index_is_saved_and_loaded(tmp_path: Path) -> None:
    DenseIndex(DIMENSION).save(tmp_path / "dense.npz", stamp="s")
    loaded = load(tmp_path / "dense.npz", {})
    put(loaded, 0, directions(1)[0], identity=1)
    assert loaded.search(directions(1)[0], 1, expansion=5)[0].tolist() == [0]


def test_nothing_that_is_live_leaves_nothing_to_answer(tmp_path: Path) -> None:
    filled(10).save(tmp_path / "dense.npz", stamp="s")
    loaded = load(tmp_path / "dense.npz", {})
    assert (len(loaded), loaded.search(directions(1)[0], 5, expansion=10)[0].tolist()) == (0, [])


def test_a_missing_snapshot_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"there is no .*dense\.npz"):
        load(tmp_path / "dense.npz", {})


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    filled(3).save(tmp_path / "dense.npz", stamp="lite@1")
    with pytest.raises(StateError, match=r"of lite@1, not of lite@2"):
        load(tmp_path / "dense.npz", {}, stamp="lite@2")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    filled(3).save(tmp_path / "dense.npz", stamp="s")
    with np.load(tmp_path / "dense.npz") as file:
        arrays = dict(file)
    note = SnapshotNote(schema_version=9, stamp="s", dimension=DIMENSION, nodes=3)
    arrays["note"] = np.frombuffer(note.model_dump_json().encode(), dtype=np.uint8)
    np.savez(tmp_path / "dense.npz", **arrays)
    with pytest.raises(StateError, match="schema 9"):
        load(tmp_path / "dense.npz", {})


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "dense.npz"
    filled(200).save(path, stamp="s")
    content = bytearray(path.read_bytes())
    at = int(share * len(content))
    content[at : at + 32] = bytes(255 - byte for byte in content[at : at + 32])
    path.write_bytes(content)
    with pytest.raises(StateError, match="is not whole"):
        load(path, {})


def test_a_snapshot_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dense.npz"
    filled(200).save(path, stamp="s")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(StateError, match="is not whole"):
        load(path, {})


def test_killed_while_it_writes_the_snapshot_before_is_still_good(tmp_path: Path) -> None:
    path = tmp_path / "dense.npz"
    saving = subprocess.Popen([sys.executable, "-m", __name__, str(path)], stdout=subprocess.PIPE)
    assert saving.stdout is not None
    assert saving.stdout.readline() == b"first is written\n"
    partial = path.with_name("dense.npz.partial")
    while not (partial.exists() and partial.stat().st_size > 1 << 20):
        assert saving.poll() is None
        time.sleep(0.0005)
    os.kill(saving.pid, signal.SIGKILL)
    saving.wait()
    saving.stdout.close()
    assert partial.exists()  # it was in the middle of writing
    _, parts = read_snapshot(path, stamp="s")
    assert (parts.codes[:_NODES] == 1).all()
    filled(10).save(path, stamp="s")
    assert len(load(path, {slot: 1000 + slot for slot in range(10)})) == 10
    assert [each.name for each in tmp_path.iterdir()] == ["dense.npz"]


_NODES = 50_000


def _save_again_and_again(path: Path) -> None:
    note = SnapshotNote(stamp="s", dimension=512, nodes=_NODES)
    for number in range(1, 1000):
        parts = Parts(
            codes=np.full((_NODES, 256), number % 256, dtype=np.uint8),
            weights=np.zeros((_NODES, 2), dtype=np.float32),
            links=np.zeros((_NODES, WIDTH), dtype=np.int32),
            identities=np.zeros(_NODES, dtype=np.int64),
            slots=np.zeros(_NODES, dtype=np.int32),
            landmarks=np.zeros(0, dtype=np.int32),
        )
        write_snapshot(path, note, parts)
        if number == 1:
            print("first is written", flush=True)


if __name__ == "__main__":
    _save_again_and_again(Path(sys.argv[1]))
