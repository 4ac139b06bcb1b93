from __future__ import annotations

import numpy as np
import pytest

from agents.recall import SAMPLES, SampledRecall, sample_recall
from state.live_index import LiveDocument, LiveIndex
from streams.semantic_id import Leaf, SemanticId
from streams.settings import SearchSettings


def index_of(leaves: int, *, documents: int = 400, right: bool = True) -> LiveIndex:
    """Documents in their nearest leaf, or in any."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(documents, 8)).astype(np.float32)
    index = LiveIndex(8)
    index.activate(1)
    index.set_tree(1, np.array([Leaf(0, 0, k).packed() for k in range(leaves)]), vectors[:leaves])
    nearest = np.argmin(np.linalg.norm(vectors[:, None] - vectors[None, :leaves], axis=2), axis=1)
    at = nearest if right else random.permutation(nearest)
    for number, (vector, leaf) in enumerate(zip(vectors, at.tolist(), strict=True)):
        packed = SemanticId(0, 0, leaf, number).packed()
        index.apply([LiveDocument(str(number), {1: packed}, [("text", vector)], "vector")])
    return index


def sampled(index: LiveIndex, *, leaves: int) -> float:
    settings = SearchSettings(leaves=leaves, members=10_000)
    return float(np.mean(sample_recall(index, settings, documents=40, random=np.random.default_rng(1))))


def test_all_leaves_opened_find_everything() -> None:
    assert sampled(index_of(20), leaves=20) == 1.0


def test_a_tree_whose_documents_stand_in_the_wrong_leaves_is_told_from_a_good_one() -> None:
    assert sampled(index_of(20), leaves=4) > sampled(index_of(20, right=False), leaves=4) + 0.05


def test_the_drop_is_measured_from_when_the_epoch_was_young() -> None:
    recall = SampledRecall()
    recall.add(1, [0.9] * (SAMPLES - 1))
    assert (recall.now, recall.fresh, recall.drop) == (None, None, 0.0)
    recall.add(1, [0.9])
    recall.add(1, [0.8] * SAMPLES)
    assert recall.now == pytest.approx(0.8)
    assert recall.drop == pytest.approx(0.1)
    recall.add(2, [0.7])
    assert (recall.now, recall.drop) == (None, 0.0)
