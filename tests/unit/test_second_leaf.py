"""The second leaf against the rule written out for one document."""

from __future__ import annotations

import numpy as np
import pytest

from models.codebooks import fit_codebook
from models.codebooks.second_leaf import NONE, second_leaves
from state.generative import GenerativePath
from state.readers import Readers


def naive(vector: np.ndarray, first: int, candidates: list[int], centroids: np.ndarray, weight: float) -> int:
    residual = vector - centroids[first]
    unit = residual / np.linalg.norm(residual)
    best, least = NONE, np.inf
    for row in candidates:
        if row in (first, NONE):
            continue
        other = vector - centroids[row]
        loss = other @ other + weight * (other @ unit) ** 2
        if loss < least:
            best, least = row, loss
    return best


@pytest.mark.parametrize("weight", [0.0, 1.0, 4.0])
def test_the_rule_is_that_of_one_document_after_the_other(weight):
    random = np.random.default_rng(0)
    vectors, centroids = random.standard_normal((3_000, 6)), random.standard_normal((40, 6))
    vectors, centroids = vectors.astype(np.float32), centroids.astype(np.float32)
    candidates = random.permuted(np.tile(np.arange(40), (3_000, 1)), axis=1)[:, :8]
    candidates[random.random(candidates.shape) < 0.1] = NONE
    first = random.integers(40, size=3_000)
    found = second_leaves(vectors, first=first, candidates=candidates, centroids=centroids, weight=weight)
    expected = [
        naive(
            vectors[n].astype(np.float64),
            first[n],
            candidates[n].tolist(),
            centroids.astype(np.float64),
            weight,
        )
        for n in range(3_000)
    ]
    assert (found == expected).mean() > 0.999  # sums in another order may turn a tie


def test_of_two_leaves_equally_far_the_one_with_the_orthogonal_residual_is_taken():
    centroids = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
    found = second_leaves(
        np.zeros((1, 2), dtype=np.float32),
        first=np.array([0]),
        candidates=np.array([[0, 1, 2]]),
        centroids=centroids,
    )
    assert found.tolist() == [2]


def test_without_another_candidate_there_is_no_second_leaf():
    found = second_leaves(
        np.ones((2, 2), dtype=np.float32),
        first=np.array([0, 1]),
        candidates=np.array([[0, NONE], [NONE, NONE]]),
        centroids=np.eye(2, dtype=np.float32),
    )
    assert found.tolist() == [NONE, NONE]


def test_a_document_on_its_centroid_gets_the_nearest_other_leaf():
    centroids = np.array([[0, 0], [3, 0], [0, 2]], dtype=np.float32)
    found = second_leaves(
        centroids[:1], first=np.array([0]), candidates=np.array([[0, 1, 2]]), centroids=centroids
    )
    assert found.tolist() == [2]


def test_the_live_index_chooses_nearly_the_same_second_leaves() -> None:
    """It looks for candidates with a beam, on centroids of 8 bits."""
    random = np.random.default_rng(3)
    middles = random.standard_normal((40, 32)).astype(np.float32)
    vectors = middles[random.integers(40, size=3_000)] + random.standard_normal((3_000, 32)).astype(
        np.float32
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    book = fit_codebook(vectors, epoch=1, stamp="test", leaves=96, seed=0)
    codes, _ = book.nearest(vectors, 17)
    near = np.searchsorted(book.leaves, codes)
    wanted = second_leaves(vectors, first=near[:, 0], candidates=near, centroids=book.centroids)

    path = GenerativePath(32, readers=Readers())
    path.set_leaves(book.leaves, book.centroids)
    path.put(np.arange(len(vectors)), codes[:, 0], vectors)
    chosen = path.leaves_of(np.arange(len(vectors)))[:, 1]
    assert np.mean(chosen == book.leaves[wanted]) > 0.9
