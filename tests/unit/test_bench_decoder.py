"""What the benchmark of the decoder counts: recall by leaves and by documents, on a tree that can be read."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.decoder_case import Case, exact, placed
from benchmarks.decoder_serving import served
from models.codebooks import Codebook
from streams.semantic_id import Leaf
from streams.settings import SearchSettings
from tests.decoders import random_decoder

DIMENSION = 8
LEAVES = np.array([Leaf(0, number, 0).packed() for number in range(DIMENSION)])


@pytest.fixture
def case() -> Case:
    """Ten documents around each of eight axes; a query along each axis."""
    random = np.random.default_rng(0)
    axes = np.eye(DIMENSION, dtype=np.float32)
    documents = np.repeat(axes, 10, axis=0) + random.normal(0, 0.05, (80, DIMENSION)).astype(np.float32)
    tree = Codebook.of(LEAVES, axes, epoch=1, stamp="test", fitted_on=80)
    paths = placed(tree, documents)
    return Case(tree, documents, paths, axes, exact(axes, documents), opened=(1, 8), members=40)


def test_documents_stand_in_the_leaf_of_their_axis_and_in_another_one(case: Case):
    assert case.paths[:, 0].tolist() == np.repeat(LEAVES, 10).tolist()
    assert (case.paths[:, 1] != case.paths[:, 0]).all()
    assert case.sizes.sum() == 160


def test_recall_is_counted_in_the_best_leaves_and_in_those_that_hold_so_many_documents(case: Case):
    right = case.measure(case.geometry)
    assert (right["1 leaves"], right["8 leaves"], right["40 documents"]) == (1.0, 1.0, 1.0)
    worst = case.measure(-case.geometry)
    assert worst["1 leaves"] < 1.0
    assert worst["8 leaves"] == 1.0


def test_geometry_needs_more_documents_for_more_recall_and_says_when_it_cannot(case: Case):
    assert case.geometry_needs(1.0) is not None
    assert case.geometry_needs(1.1) is None


def test_a_searcher_is_asked_in_all_three_ways_and_geometry_finds_what_lies_along_an_axis(
    case: Case, capsys: pytest.CaptureFixture[str]
):
    decoder = random_decoder(LEAVES, dimension=DIMENSION, epoch=1)
    search = SearchSettings(shortlist=80)
    rows = served(case, decoder, search=search, rounds=1, seconds=0.0)
    assert [row["search.generation"] for row in rows] == ["geometry", "decoder", "seeds"] * 3
    recall = {(row["search.generation"], row["documents scored"]): row["recall@10"] for row in rows}
    assert recall["geometry", 20] == recall["geometry", 80] == 1.0
    assert recall["seeds", 80] >= recall["seeds", 20] > 0
    assert "seeds" in capsys.readouterr().out
