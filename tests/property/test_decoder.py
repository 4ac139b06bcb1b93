"""Whatever the tree: levels hang together, and probabilities of live leaves sum to one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.decoder.levels import BITS_BELOW, level_centroids, tree_levels
from models.decoder.scores import path_log_probabilities
from streams.semantic_id import Leaf
from tests.decoders import random_decoder

leaf_codes = st.builds(Leaf, st.integers(0, 15), st.integers(0, 255), st.integers(0, 4095)).map(Leaf.packed)
trees = st.lists(leaf_codes, min_size=1, max_size=60, unique=True).map(lambda codes: np.array(sorted(codes)))


@given(trees)
def test_every_node_is_below_its_parent_and_among_its_children(leaves: NDArray[np.int64]):
    above = np.zeros(1, dtype=np.int64)
    bits_above = 64
    for level, bits in zip(tree_levels(leaves), BITS_BELOW, strict=True):
        assert level.prefixes.tolist() == sorted({leaf >> bits for leaf in leaves.tolist()})
        for row, (prefix, parent) in enumerate(
            zip(level.prefixes.tolist(), level.parents.tolist(), strict=True)
        ):
            assert level.starts[parent] <= row < level.starts[parent + 1]
            assert prefix << bits >> bits_above == above[parent] if bits_above < 64 else parent == 0
        assert int(level.counts.sum()) == len(level.prefixes)
        assert (level.counts > 0).all()
        above, bits_above = level.prefixes, bits


@settings(deadline=None, max_examples=30)
@given(trees, trees, st.integers(0, 2**16), st.floats(0.1, 50.0))
def test_probabilities_of_live_leaves_sum_to_one(
    live: NDArray[np.int64], known: NDArray[np.int64], seed: int, sharpness: float
):
    random = np.random.default_rng(seed)
    decoder = random_decoder(np.union1d(known, live[::2]), seed=seed)
    queries = random.standard_normal((3, 12)).astype(np.float32)
    centroids = random.standard_normal((len(live), 12)).astype(np.float32)
    levels = path_log_probabilities(
        queries, decoder.heads(queries), decoder.nodes, leaves=live, centroids=centroids, sharpness=sharpness
    )
    for found, level in zip(levels, tree_levels(live), strict=True):
        assert found.shape == (3, len(level.prefixes))
        np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1.0, rtol=1e-3)
    assert len(level_centroids(tree_levels(live), live, centroids)) == 3
