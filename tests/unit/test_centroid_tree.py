from __future__ import annotations

import numpy as np
import pytest

from state.centroid_tree import LEVEL_SHIFTS, CentroidTree, split_codes
from state.routing import Learned
from streams.semantic_id import Leaf

NORTH, EAST = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)
LEAVES = {Leaf(0, 0, 0): NORTH, Leaf(0, 0, 1): NORTH / 2, Leaf(1, 0, 0): EAST}


def tree_of(leaves: dict[Leaf, np.ndarray]) -> CentroidTree:
    tree = CentroidTree(2)
    tree.put([leaf.packed() for leaf in leaves], np.stack(list(leaves.values())))
    return tree


def routed(tree: CentroidTree, vector: np.ndarray, k: int, **more: object) -> list[Leaf]:
    found = tree.route(vector[None, :], k, among=more.pop("among", tree.every), **more)
    return [Leaf.unpacked(leaf) for leaf in found.leaves[0, : found.counts[0]].tolist()]


def test_leaves_come_by_inner_product_for_queries_and_by_distance_for_documents() -> None:
    tree = tree_of(LEAVES)
    assert routed(tree, NORTH, 3) == list(LEAVES)
    nearest, squares, _ = tree.nearest(NORTH[None, :] * 0.6, 2)
    assert [Leaf.unpacked(leaf) for leaf in nearest[0].tolist()] == [Leaf(0, 0, 1), Leaf(0, 0, 0)]
    np.testing.assert_allclose(squares[0], [0.01, 0.16], atol=2e-3)


def test_fewer_leaves_than_asked_for_give_no_fillers() -> None:
    assert routed(tree_of(LEAVES), NORTH, 50) == list(LEAVES)
    assert routed(CentroidTree(2), NORTH, 5) == []


def test_a_narrow_beam_opens_the_best_subcategories_alone() -> None:
    assert routed(tree_of(LEAVES), NORTH, 3, beam=1) == [Leaf(0, 0, 0), Leaf(0, 0, 1)]


def test_a_leaf_that_moved_is_found_at_its_new_place() -> None:
    tree = tree_of(LEAVES)
    tree.put([Leaf(1, 0, 0).packed()], 2 * NORTH[None, :])
    assert routed(tree, NORTH, 1) == [Leaf(1, 0, 0)]
    np.testing.assert_allclose(tree.centroid(Leaf(1, 0, 0).packed()), 2 * NORTH)


def test_a_closed_leaf_takes_no_documents_and_a_forgotten_one_gives_its_number_back() -> None:
    tree = tree_of(LEAVES)
    number = tree.number(Leaf(0, 0, 0).packed())
    tree.close(Leaf(0, 0, 0).packed())
    assert Leaf(0, 0, 0) not in routed(tree, NORTH, 3)
    assert tree.centroid(Leaf(0, 0, 0).packed()) is not None
    tree.forget(Leaf(0, 0, 0).packed())
    assert tree.centroid(Leaf(0, 0, 0).packed()) is None
    assert tree.number(Leaf(9, 9, 9).packed()) == number


def test_a_leaf_without_a_centroid_scores_as_the_node_above_it() -> None:
    tree = tree_of(LEAVES)
    young = Leaf(0, 0, 9)
    tree.every.insert(split_codes(np.array([young.packed()])), np.array([tree.number(young.packed())]))
    assert routed(tree, NORTH, 4) == [Leaf(0, 0, 0), young, Leaf(0, 0, 1), Leaf(1, 0, 0)]


def test_leaves_that_may_not_be_opened_are_left_out() -> None:
    tree = tree_of(LEAVES)
    may_open = np.array([tree.code(number) != Leaf(0, 0, 0).packed() for number in range(3)])
    assert routed(tree, NORTH, 3, may_open=may_open) == [Leaf(0, 0, 1), Leaf(1, 0, 0)]


def test_a_beam_is_kept_for_subcategories_with_a_leaf_that_may_be_opened() -> None:
    tree = tree_of(LEAVES)
    may_open = np.array([tree.code(number) == Leaf(1, 0, 0).packed() for number in range(3)])
    assert routed(tree, NORTH, 3, beam=1, may_open=may_open) == [Leaf(1, 0, 0)]


def test_a_leaf_that_is_younger_than_the_limits_is_not_opened() -> None:
    tree = tree_of(LEAVES)
    assert routed(tree, NORTH, 3, may_open=np.array([False, True])) == [Leaf(0, 0, 1)]


def test_probabilities_of_siblings_sum_to_one_at_every_level() -> None:
    tree = tree_of(
        {
            Leaf(c, s, k): NORTH * (c + 1) + EAST * (s - k)
            for c in range(3)
            for s in range(2)
            for k in range(4)
        }
    )
    direction = np.array([0.6, 0.8], dtype=np.float32)
    found = tree.log_probabilities(direction, np.array(_packed(tree)), among=tree.every)
    logs = dict(zip(_packed(tree), found, strict=True))
    assert sum(np.exp(each.sum()) for each in logs.values()) == pytest.approx(1.0, abs=1e-4)
    first = {leaf >> LEVEL_SHIFTS[0]: each[0] for leaf, each in logs.items()}
    assert sum(np.exp(each) for each in first.values()) == pytest.approx(1.0, abs=1e-5)
    gone = np.array([Leaf(0, 0, 9).packed(), Leaf(9, 0, 0).packed(), Leaf(0, 9, 0).packed()])
    assert (tree.log_probabilities(direction, gone, among=tree.every)[:, -1] == -np.inf).all()


def _packed(tree: CentroidTree) -> list[int]:
    codes, _ = tree.every.items()
    return [Leaf(*row).packed() for row in codes.tolist()]


def test_a_decoder_is_added_to_geometry_and_a_younger_leaf_takes_its_share_by_geometry() -> None:
    tree = tree_of(LEAVES)
    leaves = [Leaf(0, 0, 0).packed(), Leaf(1, 0, 0).packed()]
    for level, (prefixes, likes) in enumerate([([0, 1], [0, 5]), ([0, 1 << 8], [0, 0]), (leaves, [0, 0])]):
        embeddings = np.array(likes, dtype=np.float32)[:, None]
        tree.learn(level, np.array(prefixes), embeddings, np.zeros(2, dtype=np.float32))
    heads = np.ones((1, 3, 1), dtype=np.float32)
    assert routed(tree, NORTH, 3, learned=Learned(heads, 0.0)) == list(LEAVES)
    assert routed(tree, NORTH, 3, learned=Learned(heads, 1.0))[0] == Leaf(1, 0, 0)
    learned = Learned(heads, 1.0)
    siblings = np.array([Leaf(0, 0, 1).packed(), Leaf(0, 0, 0).packed()])
    logs, sibling = tree.log_probabilities(NORTH, siblings, among=tree.every, learned=learned)
    assert logs[0] == pytest.approx(-np.log(1 + np.exp(5.0)), abs=1e-4)
    assert logs[2] == pytest.approx(-np.log(1 + np.exp(20 * 0.5)), abs=0.1), "geometry among the siblings"
    assert np.exp(logs[2]) + np.exp(sibling[2]) == pytest.approx(1.0, abs=1e-4)
    tree.unlearn()
    assert routed(tree, NORTH, 3) == list(LEAVES)
