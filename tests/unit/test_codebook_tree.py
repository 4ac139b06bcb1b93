"""A tree: finding leaves, changes that leave the old one alone, bytes and back."""

from __future__ import annotations

import numpy as np
import pytest

from models.codebooks import Codebook, LeafChange, fit_codebook
from models.codebooks import tree as tree_module
from streams.errors import ModelError
from streams.semantic_id import CLUSTER_BITS, Leaf

DIMENSION = 6


def tree_of(*, leaves: int = 60, subcategories: int = 5, seed: int = 0) -> Codebook:
    random = np.random.default_rng(seed)
    codes = [Leaf(n % 2, n % subcategories, n // subcategories).packed() for n in range(leaves)]
    centroids = random.standard_normal((leaves, DIMENSION)).astype(np.float32)
    return Codebook.of(np.array(codes), centroids, epoch=3, stamp="s@1/float32", fitted_on=1_000)


@pytest.fixture
def tree() -> Codebook:
    return tree_of()


def vectors(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIMENSION)).astype(np.float32)


def test_leaves_stand_in_order_of_codes_each_with_its_centroid(tree):
    assert tree.leaves.tolist() == sorted(tree.leaves.tolist())
    assert len(tree) == 60
    for leaf, centroid in zip(tree.leaves.tolist(), tree.centroids, strict=True):
        assert np.array_equal(tree.centroid(leaf), centroid)
        assert leaf in tree


def test_a_leaf_that_is_not_there_has_no_centroid(tree):
    for leaf in (Leaf(0, 0, 4_000), Leaf(9, 9, 9)):
        assert leaf.packed() not in tree
        assert tree.centroid(leaf.packed()) is None


def test_the_nearest_leaves_are_those_of_a_full_comparison(tree):
    asked = vectors(20)
    codes, distances = tree.nearest(asked, 7)
    for row, vector in enumerate(asked):
        full = ((tree.centroids - vector) ** 2).sum(axis=1)
        best = np.argsort(full)[:7]
        assert codes[row].tolist() == tree.leaves[best].tolist()
        assert distances[row] == pytest.approx(full[best], abs=1e-4)


def test_no_more_leaves_are_found_than_there_are(tree):
    codes, distances = tree.nearest(vectors(2), 1_000)
    assert codes.shape == distances.shape == (2, 60)
    assert set(codes[0].tolist()) == set(tree.leaves.tolist())


def test_a_large_tree_is_searched_by_subcategories_and_finds_nearly_the_same(monkeypatch):
    random = np.random.default_rng(5)
    points = random.standard_normal((6_000, 8)).astype(np.float32)
    large = fit_codebook(points, epoch=1, stamp="s", leaves=2_000, seed=0)
    full, full_distances = large.nearest(points[:500], 4)
    monkeypatch.setattr(tree_module, "FLAT_UP_TO", 100)
    seen, distances = large.nearest(points[:500], 4)
    assert (seen[:, 0] == full[:, 0]).mean() > 0.99
    same = (seen == full).all(axis=1)
    assert distances[same] == pytest.approx(full_distances[same], abs=1e-3)
    assert (np.diff(distances, axis=1) >= 0).all()
    # More leaves than the subcategories seen have: all are looked at.
    assert large.nearest(points[:2], 2_000)[0].shape == (2, 2_000)


def test_a_level_is_the_mean_of_the_leaves_below_it(tree):
    prefixes, means = tree.level(CLUSTER_BITS)
    assert prefixes.tolist() == sorted({leaf >> CLUSTER_BITS for leaf in tree.leaves.tolist()})
    for prefix, mean in zip(prefixes.tolist(), means, strict=True):
        assert mean == pytest.approx(
            tree.centroids[tree.leaves >> CLUSTER_BITS == prefix].mean(axis=0), abs=1e-6
        )
    assert np.array_equal(tree.level(0)[1], tree.centroids)


def test_bytes_and_back_are_equal_also_after_changes(tree):
    changed = tree.apply(
        [LeafChange(int(tree.leaves[3]), None), LeafChange(Leaf(1, 1, 99).packed(), vectors(1)[0])]
    )
    for before in (tree, changed):
        after = Codebook.from_bytes(before.to_bytes())
        assert (after.epoch, after.stamp, after.fitted_on) == (3, "s@1/float32", 1_000)
        assert np.array_equal(after.leaves, before.leaves)
        assert np.array_equal(after.centroids, before.centroids.astype(np.float16))
        assert np.array_equal(Codebook.from_bytes(after.to_bytes()).centroids, after.centroids)
        assert after.gone == before.gone


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_damaged_bytes_are_refused(tree, cut):
    with pytest.raises(ModelError, match="damaged"):
        Codebook.from_bytes(tree.to_bytes()[:cut])


def test_changes_leave_the_tree_as_it_was_and_share_what_they_do_not_touch(tree):
    leaves, centroids = tree.leaves.copy(), tree.centroids.copy()
    leaf = int(tree.leaves[0])
    changed = tree.apply([LeafChange(leaf, np.zeros(DIMENSION))])
    assert np.array_equal(tree.leaves, leaves)
    assert np.array_equal(tree.centroids, centroids)
    assert np.array_equal(changed.centroid(leaf), np.zeros(DIMENSION))
    untouched = [below for below in tree.subcategories if below.prefix != leaf >> CLUSTER_BITS]
    assert untouched
    assert all(any(below is other for other in changed.subcategories) for below in untouched)


def test_nobody_can_write_into_a_tree(tree):
    changed = tree.apply([LeafChange(int(tree.leaves[0]), np.zeros(DIMENSION))])
    for book in (tree, changed):
        for array in (book.leaves, book.centroids, book.subcategories[0].centroids):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_a_born_leaf_is_found_and_one_that_is_gone_is_not(tree):
    gone, born = int(tree.leaves[10]), Leaf(5, 200, 0).packed()
    centroid = tree.centroid(gone)
    changed = tree.apply([LeafChange(gone, None), LeafChange(born, np.full(DIMENSION, 9.0))])
    assert changed.nearest(np.full((1, DIMENSION), 9, dtype=np.float32), 1)[0].tolist() == [[born]]
    assert gone not in changed.nearest(centroid[None], 60)[0]
    assert len(changed) == len(tree)
    assert changed.gone == {gone}


def test_a_subcategory_without_leaves_is_not_there_any_more(tree):
    prefix = tree.subcategories[0].prefix
    leaves = tree.subcategories[0].leaves.tolist()
    changed = tree.apply([LeafChange(leaf, None) for leaf in leaves])
    assert prefix not in [below.prefix for below in changed.subcategories]
    assert len(changed) == len(tree) - len(leaves)


def test_a_centroid_is_rounded_to_what_the_log_carries():
    change = LeafChange(1, np.array([0.1, 1 / 3], dtype=np.float32))
    assert change.centroid.dtype == np.float32
    assert np.array_equal(change.centroid, np.array([0.1, 1 / 3], dtype=np.float16).astype(np.float32))


def test_changes_that_cannot_be_are_refused(tree):
    leaf = int(tree.leaves[0])
    gone = tree.apply([LeafChange(leaf, None)])
    with pytest.raises(ModelError, match="not used again"):
        gone.apply([LeafChange(leaf, np.zeros(DIMENSION))])
    with pytest.raises(ModelError, match="not used again"):
        tree.apply([LeafChange(leaf, None), LeafChange(leaf, np.zeros(DIMENSION))])
    with pytest.raises(ModelError, match="shape"):
        tree.apply([LeafChange(leaf, np.zeros(DIMENSION + 1))])
    with pytest.raises(ModelError, match="no leaf"):
        tree.apply([LeafChange(leaf, None) for leaf in tree.leaves.tolist()])


def test_a_tree_needs_leaves_of_different_codes():
    for codes in ([], [7, 7]):
        with pytest.raises(ModelError, match="a tree needs leaves"):
            Codebook.of(np.array(codes, dtype=np.int64), vectors(len(codes)), epoch=1, stamp="s", fitted_on=1)
