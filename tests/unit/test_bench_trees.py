"""What benchmarks of trees count with: documents in the order of leaves, a stream that drifts, a growing tree."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.corpus import Corpus
from benchmarks.drift import NEW_SHARE, drifting
from benchmarks.growing_tree import GrowingTree
from benchmarks.leaf_recall import Postings, recall_when_scored


def test_documents_come_leaf_after_leaf_and_each_once():
    random = np.random.default_rng(0)
    first, second = random.integers(10, size=200), random.integers(-1, 10, size=200)
    postings = Postings.of(first, second, leaves=10)
    ranked = random.permutation(10)
    for most in (1, 7, 60, 199, 500):
        held = [np.concatenate([np.flatnonzero(copy == leaf) for copy in (first, second)]) for leaf in ranked]
        expected = list(dict.fromkeys(np.concatenate(held).tolist()))
        assert postings.in_order(ranked, most).tolist() == expected[:most]


def test_recall_counts_the_exact_answers_among_what_was_scored():
    postings = Postings.of(np.array([0, 0, 1, 2]), leaves=3)
    ranked, exact = np.array([[0, 1, 2], [2, 1, 0]]), np.array([[0, 2], [3, 0]])
    assert recall_when_scored(postings, ranked, exact, [1, 2, 4]) == {1: 2 / 4, 2: 2 / 4, 4: 1.0}


@pytest.fixture(scope="module")
def whole() -> Corpus:
    random = np.random.default_rng(0)
    topics = random.integers(120, size=9_000).astype(np.int32)
    middles = random.standard_normal((120, 8))
    vectors = (middles[topics] + random.standard_normal((9_000, 8))).astype(np.float32)
    none = np.empty((0, 8), dtype=np.float32)
    return Corpus(vectors, topics, [str(n) for n in range(120)], none, np.empty((0, 1), dtype=np.int32))


def test_late_topics_come_in_the_second_half_alone(whole):
    stream = drifting(whole, length=4_000, seed=1)
    late = stream.late[stream.rows]
    assert len(np.unique(stream.rows)) == 4_000
    assert not late[:2_000].any()
    assert late[2_000:].mean() == pytest.approx(NEW_SHARE, abs=0.01)
    assert np.array_equal(stream.rows, drifting(whole, length=4_000, seed=1).rows)
    births = [
        np.flatnonzero(late & (whole.topics[stream.rows] == t)) for t in np.unique(whole.topics[stream.late])
    ]
    assert np.std([at[0] for at in births if len(at)]) > 100


def test_queries_never_come_and_have_the_mix_of_what_is_there(whole):
    stream = drifting(whole, length=4_000, seed=1)
    early, all_of_it = stream.queries(2_000, 300, seed=0), stream.queries(4_000, 300, seed=0)
    assert not np.isin(np.concatenate([early, all_of_it]), stream.rows).any()
    assert not stream.late[early].any()
    assert stream.late[all_of_it].mean() == pytest.approx(NEW_SHARE / 2, abs=0.1)


def test_a_growing_tree_holds_every_document_once_and_its_second_copies_in_living_leaves(whole):
    tree = GrowingTree(whole.vectors[:3_000])
    tree.fit(10, 0, first=500)
    while tree.count < 3_000:
        tree.insert(100)
        tree.split_above(96)
        tree.tidy()
        tree.recentre()
        tree.repair(400)
    assert tree.splits > 10
    assert tree.recentred > 10
    assert tree.sizes().sum() == 3_000
    assert tree.sizes().max() <= 96 + 50  # what merges bring is split at the next insert
    postings = tree.postings()
    assert np.bincount(postings.documents, minlength=3_000).min() >= 1
    assert len(postings.documents) > 5_500
