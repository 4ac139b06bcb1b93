"""Fitting a tree: repeatable, from 16 or 32 bits, by groups as by all, and codes that have room."""

from __future__ import annotations

import numpy as np
import pytest

from models.codebooks import fit_codebook
from models.codebooks import k_means as k_means_module
from models.codebooks.fit import coded, most_children
from models.codebooks.k_means import k_means
from streams.errors import ModelError
from streams.semantic_id import CLUSTER_BITS, Leaf


def points(n: int, *, dimension: int = 8, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    middles = random.standard_normal((20, dimension)) * 3
    return (middles[random.integers(20, size=n)] + random.standard_normal((n, dimension))).astype(np.float32)


def fitted(vectors: np.ndarray, leaves: int, seed: int = 0):
    return fit_codebook(vectors, epoch=1, stamp="s", leaves=leaves, seed=seed)


def error(vectors: np.ndarray, centroids: np.ndarray) -> float:
    """Mean squared distance to the nearest centroid."""
    return float(((vectors[:, None] - centroids) ** 2).sum(axis=2).min(axis=1).mean())


def test_the_same_seed_gives_the_same_tree_and_another_seed_another():
    vectors = points(2_000)
    one, same, other = fitted(vectors, 60), fitted(vectors, 60), fitted(vectors, 60, seed=1)
    assert np.array_equal(one.leaves, same.leaves)
    assert np.array_equal(one.centroids, same.centroids)
    assert not np.array_equal(one.centroids, other.centroids)


def test_a_tree_has_the_leaves_asked_for_and_knows_what_it_was_fitted_on():
    tree = fitted(points(2_000), 60)
    assert len(tree) == 60
    assert (tree.epoch, tree.stamp, tree.fitted_on) == (1, "s", 2_000)


def test_vectors_of_16_bits_give_the_tree_of_the_same_values_in_32_bits(tmp_path):
    half = points(1_500).astype(np.float16)
    np.save(tmp_path / "half.npy", half)
    mapped = np.load(tmp_path / "half.npy", mmap_mode="r")
    whole = fitted(half.astype(np.float32), 40)
    for vectors in (half, mapped):
        assert np.array_equal(fitted(vectors, 40).centroids, whole.centroids)


def test_centroids_are_the_means_of_what_is_nearest_to_them_when_lloyd_has_settled(monkeypatch):
    monkeypatch.setattr(k_means_module, "ROUNDS", 100)
    vectors = points(300)
    centroids = k_means(vectors, 5, seed=0)
    nearest = ((vectors[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    for row, centroid in enumerate(centroids):
        assert centroid == pytest.approx(vectors[nearest == row].mean(axis=0), abs=1e-4)


def test_by_groups_k_means_is_as_good_as_by_all(monkeypatch):
    vectors = points(6_000)
    flat = error(vectors, k_means(vectors, 600, seed=0))
    monkeypatch.setattr(k_means_module, "FLAT_UP_TO", 10)
    grouped = error(vectors, k_means(vectors, 600, seed=0))
    assert grouped == pytest.approx(flat, rel=0.02)


def test_equal_vectors_make_one_leaf():
    vectors = np.repeat(points(3), 50, axis=0)
    tree = fitted(vectors, 10)
    assert len(tree) == 3
    assert tree.nearest(vectors, 1)[1].max() < 1e-5


def test_fewer_vectors_than_leaves_are_refused():
    with pytest.raises(ModelError, match="at least as many"):
        fitted(points(9), 10)


def test_progress_goes_up_to_the_whole(monkeypatch):
    monkeypatch.setattr(k_means_module, "CHUNK", 100)
    told: list[float] = []
    k_means(points(450), 10, seed=0, progress=told.append)
    assert told == sorted(told)
    assert len(told) == 5 * k_means_module.ROUNDS
    assert told[-1] == 1.0


def test_near_leaves_share_a_subcategory():
    vectors = points(3_000)
    tree = fitted(vectors, 200)
    subcategory = tree.leaves >> CLUSTER_BITS
    distances = ((tree.centroids[:, None] - tree.centroids) ** 2).sum(axis=2)
    within = distances[subcategory[:, None] == subcategory].mean()
    assert within < 0.5 * distances.mean()


def test_no_subcategory_is_wider_than_what_upkeep_would_cut():
    # One dense heap and a few points far away: groups by k-means alone would put the heap into one.
    random = np.random.default_rng(0)
    heap, far = random.standard_normal((3_000, 4)) * 0.01, random.standard_normal((300, 4)) * 100
    codes = coded(np.concatenate([heap, far]).astype(np.float32), seed=0)
    _, children = np.unique(codes >> CLUSTER_BITS, return_counts=True)
    assert len(np.unique(codes)) == 3_300
    assert children.max() <= most_children(3_300)


def test_codes_are_numbered_from_zero_without_gaps():
    tree = fitted(points(2_000), 100)
    paths = [Leaf.unpacked(leaf) for leaf in tree.leaves.tolist()]
    for level in range(3):
        below: dict[tuple[int, ...], set[int]] = {}
        for path in paths:
            below.setdefault(path[:level], set()).add(path[level])
        assert all(codes == set(range(len(codes))) for codes in below.values())
