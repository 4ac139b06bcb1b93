"""Routing against the same walk in plain numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.centroid_tree import CentroidTree
from streams.semantic_id import Leaf

DIMENSION = 3
leaves = st.builds(Leaf, st.integers(0, 2), st.integers(0, 3), st.integers(0, 4)).map(Leaf.packed)
actions = st.lists(st.tuples(st.booleans(), leaves), min_size=1, max_size=40)


@settings(deadline=None, max_examples=100)
@given(actions=actions, seed=st.integers(0, 100), beam=st.integers(1, 14), k=st.integers(1, 30))
def test_routing_is_the_walk_over_means_of_centroids(
    actions: list[tuple[bool, int]], seed: int, beam: int, k: int
) -> None:
    random = np.random.default_rng(seed)
    tree, twin = CentroidTree(DIMENSION), {}
    for is_put, leaf in actions:
        if is_put:
            twin[leaf] = random.normal(size=DIMENSION).astype(np.float32)
            tree.put([leaf], twin[leaf][None, :])
        elif leaf in twin:
            del twin[leaf]
            tree.forget(leaf)
    query = random.normal(size=DIMENSION).astype(np.float32)
    found = tree.route(query[None, :], k, among=tree.every, beam=beam)
    assert found.counts[0] <= min(k, len(twin))
    best = found.leaves[0, : found.counts[0]].tolist()
    assert len(set(best)) == len(best)
    by_branch: dict[int, list[int]] = {}
    for leaf in twin:
        by_branch.setdefault(leaf >> 12, []).append(leaf)
    scores = {
        branch: float(np.mean([twin[leaf] @ query for leaf in some])) for branch, some in by_branch.items()
    }
    opened = sorted(scores, key=lambda branch: -scores[branch])
    clear = len(opened) <= beam or scores[opened[beam - 1]] - scores[opened[beam]] > 0.1
    if clear:  # 8-bit centroids may swap what lies closer together
        reached = [leaf for branch in opened[:beam] for leaf in by_branch[branch]]
        exact = sorted((float(twin[leaf] @ query) for leaf in reached), reverse=True)[:k]
        np.testing.assert_allclose(found.geometry[0, : len(best)], exact, atol=0.1)
        assert set(best) <= set(reached)
        assert len(best) == min(k, len(reached))
