from __future__ import annotations

import numpy as np

from state.beam import LevelCentroids, by_geometry, constrained_beam
from state.trie import LEVEL_SHIFTS, Trie
from streams.semantic_id import Leaf

NORTH, EAST = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)
CENTROIDS = {Leaf(0, 0, 0): NORTH, Leaf(0, 0, 1): NORTH / 2, Leaf(1, 0, 0): EAST}


def levels_of(centroids: dict[Leaf, np.ndarray]) -> list[LevelCentroids]:
    """Inner nodes have the mean of their leaves."""
    levels = []
    for shift in LEVEL_SHIFTS:
        below: dict[int, list[np.ndarray]] = {}
        for leaf, vector in centroids.items():
            below.setdefault(leaf.packed() >> shift, []).append(vector)
        prefixes = sorted(below)
        vectors = np.stack([np.mean(below[prefix], axis=0) for prefix in prefixes]).astype(np.float32)
        levels.append(LevelCentroids(np.array(prefixes), vectors))
    return levels


def trie_of(*leaves: Leaf) -> Trie:
    trie = Trie()
    for slot, leaf in enumerate(leaves):
        trie.add(leaf.packed(), slot)
    return trie


def test_the_nearest_leaf_comes_first_with_what_each_level_added() -> None:
    found = constrained_beam(trie_of(*CENTROIDS), by_geometry(levels_of(CENTROIDS), NORTH), beam=2, leaves=3)
    assert [Leaf.unpacked(leaf) for leaf in found.leaves.tolist()] == list(CENTROIDS)
    assert found.scores.tolist() == [1.0, 0.5, 0.0]
    assert found.levels.tolist() == [[0.75, 0.0, 0.25], [0.75, 0.0, -0.25], [0.0, 0.0, 0.0]]


def test_leaves_without_documents_are_never_walked() -> None:
    found = constrained_beam(
        trie_of(Leaf(1, 0, 0)), by_geometry(levels_of(CENTROIDS), NORTH), beam=1, leaves=10
    )
    assert found.leaves.tolist() == [Leaf(1, 0, 0).packed()]


def test_a_leaf_younger_than_the_centroids_is_found_beside_its_siblings() -> None:
    young, elsewhere = Leaf(0, 0, 9), Leaf(5, 5, 5)
    found = constrained_beam(
        trie_of(*CENTROIDS, young, elsewhere), by_geometry(levels_of(CENTROIDS), NORTH), beam=9, leaves=9
    )
    ranks = [Leaf.unpacked(leaf) for leaf in found.leaves.tolist()]
    assert ranks.index(Leaf(0, 0, 0)) < ranks.index(young) < ranks.index(Leaf(0, 0, 1))
    assert set(ranks) == {*CENTROIDS, young, elsewhere}


def test_an_empty_trie_has_no_leaves_and_centroids_may_be_missing() -> None:
    nothing = LevelCentroids(np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.float32))
    assert (
        len(constrained_beam(Trie(), by_geometry(levels_of(CENTROIDS), NORTH), beam=4, leaves=4).leaves) == 0
    )
    found = constrained_beam(trie_of(*CENTROIDS), by_geometry([nothing] * 3, NORTH), beam=4, leaves=4)
    assert len(found.leaves) == 3
