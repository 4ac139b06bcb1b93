"""The dense path as an engine of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.peers.registry import peer


def test_rows_are_found_after_opening_inserting_and_deleting(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    peer("trieflow-dense").build(vectors[:200], tmp_path)
    engine = peer("trieflow-dense")
    engine.open(tmp_path)
    engine.insert(200, vectors[200:])
    for effort in engine.efforts:
        assert [engine.search(vector, 1, effort)[0] for vector in vectors[150:250]] == list(range(150, 250))
    engine.delete(np.arange(0, 300, 2))
    engine.make_visible()
    assert sorted(engine.search(vectors[0], 150, 256).tolist()) == list(range(1, 300, 2))
    engine.tidy()
    assert sorted(engine.search(vectors[0], 150, 256).tolist()) == list(range(1, 300, 2))
