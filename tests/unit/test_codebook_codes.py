"""Codes for what is born: after the last that was ever used, and none when there is no room."""

from __future__ import annotations

import numpy as np

from models.codebooks.codes import FreeCodes
from streams.semantic_id import CATEGORIES, CLUSTER_BITS, CLUSTERS, SUBCATEGORIES, Leaf

NOTHING = np.empty(0, dtype=np.int64)


def prefix(category: int, subcategory: int) -> int:
    return Leaf(category, subcategory, 0).packed() >> CLUSTER_BITS


def test_codes_go_on_after_the_largest_and_each_is_given_once():
    used = np.array([Leaf(1, 2, 7).packed(), Leaf(1, 2, 3).packed(), Leaf(1, 9, 0).packed()])
    codes = FreeCodes(used)
    assert [codes.leaf(prefix(1, 2)) for _ in range(2)] == [Leaf(1, 2, 8).packed(), Leaf(1, 2, 9).packed()]
    assert codes.leaf(prefix(4, 4)) == Leaf(4, 4, 0).packed()
    assert [codes.subcategory(1) for _ in range(2)] == [prefix(1, 10), prefix(1, 11)]
    assert codes.subcategory(0) == prefix(0, 0)


def test_a_full_subcategory_has_no_code_for_a_leaf():
    codes = FreeCodes(np.array([Leaf(0, 0, CLUSTERS - 1).packed()]))
    assert codes.leaf(prefix(0, 0)) is None


def test_a_full_category_sends_on_to_the_one_with_the_most_room():
    used = [Leaf(0, SUBCATEGORIES - 1, 0), *(Leaf(n, 5, 0) for n in range(1, CATEGORIES) if n != 6)]
    codes = FreeCodes(np.array([leaf.packed() for leaf in used]))
    assert codes.subcategory(0) == prefix(6, 0)


def test_a_full_tree_has_no_code_for_a_subcategory():
    full = [Leaf(category, SUBCATEGORIES - 1, 0).packed() for category in range(CATEGORIES)]
    assert FreeCodes(np.array(full)).subcategory(3) is None
    assert FreeCodes(NOTHING).subcategory(3) == prefix(3, 0)
