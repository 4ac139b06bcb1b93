"""The weight of the learned part, and the sharpness of geometry, chosen on held-out queries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.decoder.weight import found_within, tune_sharpness, tune_weight
from streams.semantic_id import Leaf

RANDOM = np.random.default_rng(0)
QUERIES, LEAVES, TOP = 300, 120, 5


def _case() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """What should be opened, the answers' leaves (a first and for some a second), and sizes of leaves."""
    wanted = RANDOM.standard_normal((QUERIES, LEAVES)).astype(np.float32)
    chosen = np.argsort(-wanted, axis=1)[:, : 2 * TOP]
    answers = np.stack([chosen[:, :TOP], chosen[:, TOP:]], axis=2)
    answers[:, ::2, 1] = -1
    return wanted, answers, RANDOM.integers(1, 100, LEAVES)


def _noise(amount: float) -> NDArray[np.float32]:
    return (amount * RANDOM.standard_normal((QUERIES, LEAVES))).astype(np.float32)


def test_a_learned_part_that_knows_what_geometry_does_not_gets_weight():
    wanted, answers, sizes = _case()
    tuned = tune_weight(_noise(1.0), wanted, answers=answers, sizes=sizes)
    assert tuned.weight > 0.5
    assert tuned.recall > tuned.recall_of_geometry + 0.1


def test_a_learned_part_that_knows_nothing_gets_none():
    wanted, answers, sizes = _case()
    tuned = tune_weight(wanted, _noise(5.0), answers=answers, sizes=sizes)
    assert tuned.weight == 0.0
    assert tuned.recall == tuned.recall_of_geometry


def test_two_halves_of_the_truth_are_added():
    wanted, answers, sizes = _case()
    half = _noise(0.7)
    tuned = tune_weight(wanted + half, 3 * (wanted - half), answers=answers, sizes=sizes)
    alone = found_within(3 * (wanted - half), answers=answers, sizes=sizes, budget=16 * sizes.mean()).mean()
    assert tuned.recall > max(alone, tuned.recall_of_geometry)
    assert 0.1 < tuned.weight < 1.0


def test_the_weight_follows_the_scale_of_the_scores():
    wanted, answers, sizes = _case()
    half = _noise(0.7)
    plain = tune_weight(wanted + half, wanted - half, answers=answers, sizes=sizes)
    scaled = tune_weight(1000 * (wanted + half), wanted - half, answers=answers, sizes=sizes)
    assert scaled.weight == pytest.approx(1000 * plain.weight, rel=1e-3)
    assert scaled.recall == pytest.approx(plain.recall)


@pytest.mark.parametrize("budget", [1, 50, 500, 10_000])
def test_what_is_found_within_a_budget_is_what_opening_leaf_by_leaf_finds(budget: int):
    wanted, answers, sizes = _case()
    scores = wanted + _noise(1.0)
    found = found_within(scores, answers=answers, sizes=sizes, budget=budget)
    for query in range(0, QUERIES, 7):
        opened: set[int] = set()
        documents = 0
        for leaf in np.argsort(-scores[query], kind="stable").tolist():
            if documents >= budget:
                break
            opened.add(leaf)
            documents += int(sizes[leaf])
        hits = sum(bool(opened & set(leaves)) for leaves in answers[query].tolist())
        assert found[query] == pytest.approx(hits / TOP)


@pytest.mark.parametrize("sharpness", [4.0, 12.0])
def test_the_sharpness_that_made_the_targets_is_found_again(sharpness: float):
    leaves = np.array([Leaf(0, 0, number).packed() for number in range(40)])
    centroids = RANDOM.standard_normal((40, 8)).astype(np.float32) / 4
    queries = RANDOM.standard_normal((2_000, 8)).astype(np.float32) / 2
    logits = sharpness * queries @ centroids.T
    targets = (logits + RANDOM.gumbel(size=logits.shape)).argmax(axis=1)[:, None]
    found = tune_sharpness(
        queries, leaves=leaves, centroids=centroids, targets=targets, weights=np.ones((2_000, 1), np.float32)
    )
    assert found == pytest.approx(sharpness, rel=0.3)
