"""Routing against the same walk in plain numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoder.decoder import Nodes
from models.decoder.scores import path_log_probabilities
from state.centroid_tree import LEVEL_SHIFTS, CentroidTree
from state.routing import Learned
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


@settings(deadline=None, max_examples=60)
@given(
    live=st.sets(leaves, min_size=1, max_size=20),
    known=st.sets(leaves, max_size=20),
    seed=st.integers(0, 100),
)
def test_log_probabilities_are_those_of_the_decoder_s_definition(
    live: set[int], known: set[int], seed: int
) -> None:
    random, width = np.random.default_rng(seed), 4
    codes = np.array(sorted(live))
    centroids = random.normal(size=(len(codes), DIMENSION)).astype(np.float32)
    query = random.normal(size=(1, DIMENSION)).astype(np.float32)
    heads = random.normal(size=(1, 3, width)).astype(np.float32)
    levels = []
    for shift in LEVEL_SHIFTS:
        prefixes = np.array(sorted({leaf >> shift for leaf in known}), dtype=np.int64)
        embeddings = random.normal(size=(len(prefixes), width)).astype(np.float32)
        levels.append(Nodes(prefixes, embeddings, random.normal(size=len(prefixes)).astype(np.float32)))
    tree = CentroidTree(DIMENSION)
    tree.put(codes, centroids)
    for level, nodes in enumerate(levels):
        tree.learn(level, *nodes)
    expected = path_log_probabilities(
        query, heads, levels.__getitem__, leaves=codes, centroids=centroids, sharpness=2.0
    )[-1][0]
    learned = Learned(heads, 1.0, 2.0)
    found = tree.log_probabilities(query[0], codes, among=tree.every, learned=learned).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=0.25)
    routed = tree.route(query, len(codes), among=tree.every, beam=64, learned=learned)
    by_leaf = dict(zip(codes.tolist(), expected.tolist(), strict=True))
    reached = [by_leaf[leaf] for leaf in routed.leaves[0, : routed.counts[0]].tolist()]
    np.testing.assert_allclose(routed.learned[0, : routed.counts[0]], reached, atol=0.25)
