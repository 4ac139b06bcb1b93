"""Engines of the benchmarks in a process of their own, on real searches over a few random rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.index_growth import drift_order
from benchmarks.peers.process import PeerError, PeerProcess

ROWS, HELD_BACK = 600, 40


@pytest.fixture
def process(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((ROWS + HELD_BACK, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[:50])
    started = PeerProcess(
        "faiss-hnsw",
        vectors=tmp_path / "vectors.npy",
        queries=tmp_path / "queries.npy",
        folder=tmp_path / "index",
        threads=1,
    )
    yield started
    started.close()


def test_an_engine_is_built_opened_and_asked_in_its_own_process(process):
    built = process.ask("build", rows=ROWS)
    assert built["disk_mb"] > 0.01
    process.ask("open")
    answer = process.ask("search", effort=256, first=0, count=50, nearest=3, most_s=60.0)
    assert [rows[0] for rows in answer["rows"]] == list(range(50))  # the queries are the first rows
    assert len(answer["seconds"]) == 50


def test_inserted_rows_are_found_and_the_time_until_then_is_measured(process):
    process.ask("build", rows=ROWS)
    inserted = process.ask("insert", first=ROWS, count=10, a_call=4, most_s=60.0)
    assert (len(inserted["seconds"]), inserted["inserted"]) == (3, 10)
    load = {"effort": 256, "inserts_s": 1.0, "queries_s": 50.0, "most_s": 60.0}
    fresh = process.ask("fresh", first=ROWS + 10, probes=5, **load)
    assert fresh["never"] == 0
    assert len(fresh["visible_s"]) == 5
    assert all(found >= put for found, put in zip(fresh["visible_s"], fresh["insert_s"], strict=True))


def test_what_an_engine_cannot_do_is_its_own_message(process):
    process.ask("build", rows=ROWS)
    with pytest.raises(PeerError, match="NotImplementedError"):
        process.ask("delete", rows=[1], a_call=1)


def test_an_engine_that_is_not_there_says_so(tmp_path):
    with pytest.raises(PeerError, match="not available"):
        PeerProcess("faiss-hnsw", vectors=Path("none.npy"), queries=Path("none.npy"), folder=tmp_path / "x")


def test_topics_are_born_one_after_the_other():
    topics = np.random.default_rng(2).integers(0, 20, 1_000).astype(np.int32)
    order, first_born = drift_order(topics)
    assert sorted(order.tolist()) == list(range(1_000))
    assert 400 < first_born < 700
    old, born = topics[order[:first_born]], topics[order[first_born:]]
    assert set(old.tolist()).isdisjoint(born.tolist())
    assert len(np.flatnonzero(np.diff(born))) == len(set(born.tolist())) - 1  # each topic in one piece
    assert len(np.flatnonzero(np.diff(old))) > 100  # mixed
