"""The arithmetic over whole trees, beside the simplest beam that can be written."""

from __future__ import annotations

import numpy as np
import pytest

from models.decoder.levels import level_centroids, rows_of, tree_levels
from models.decoder.scores import path_log_probabilities
from streams.semantic_id import Leaf
from tests.beam_twin import beam_twin
from tests.decoders import random_decoder, random_leaves

SHARPNESS = 3.0


def test_levels_say_who_is_whose_child():
    leaves = np.array([Leaf(*path).packed() for path in [(0, 2, 1), (0, 2, 9), (0, 7, 0), (3, 2, 4)]])
    categories, subcategories, clusters = tree_levels(leaves)
    assert categories.prefixes.tolist() == [0, 3]
    assert categories.starts.tolist() == [0, 2]
    assert subcategories.prefixes.tolist() == [2, 7, 3 << 8 | 2]
    assert subcategories.parents.tolist() == [0, 0, 1]
    assert clusters.parents.tolist() == [0, 0, 1, 2]
    assert clusters.starts.tolist() == [0, 2, 3, 4]
    assert clusters.counts.tolist() == [2, 1, 1]
    assert clusters.prefixes.tolist() == leaves.tolist()


def test_the_centroid_of_a_node_is_the_mean_of_its_leaves():
    random = np.random.default_rng(0)
    leaves = random_leaves(random, count=50)
    centroids = random.standard_normal((len(leaves), 5)).astype(np.float32)
    for bits, level, found in zip(
        (20, 12, 0), tree_levels(leaves), level_centroids(tree_levels(leaves), leaves, centroids)
    ):
        for prefix, centroid in zip(level.prefixes, found, strict=True):
            np.testing.assert_allclose(
                centroid, centroids[leaves >> bits == prefix].mean(axis=0), rtol=1e-5, atol=1e-6
            )


def test_rows_of_codes_that_are_not_known_are_minus_one():
    known = np.array([3, 5, 9])
    assert rows_of(np.array([[5, 4], [9, -1]]), known).tolist() == [[1, -1], [2, -1]]
    assert rows_of(np.array([1, 2]), np.array([], dtype=np.int64)).tolist() == [-1, -1]


@pytest.mark.parametrize("younger", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_every_node_kept_the_beam_gives_the_same_scores(seed: int, younger: float):
    random = np.random.default_rng(seed)
    live = random_leaves(random, count=70)
    old = live[random.random(len(live)) >= younger]
    gone = random_leaves(random, count=20)  # of the training, without live documents now
    decoder = random_decoder(np.unique(np.concatenate([old, gone])), seed=seed)
    centroids = random.standard_normal((len(live), 12)).astype(np.float32)
    queries = random.standard_normal((3, 12)).astype(np.float32)
    levels = tree_levels(live)
    found = path_log_probabilities(
        queries, decoder.heads(queries), decoder.nodes, leaves=live, centroids=centroids, sharpness=SHARPNESS
    )
    by_node = {
        (number, int(prefix)): middle
        for number, (level, middles) in enumerate(
            zip(levels, level_centroids(levels, live, centroids), strict=True)
        )
        for prefix, middle in zip(level.prefixes, middles, strict=True)
    }
    for query, log_p in zip(queries, found[-1], strict=True):
        reached = beam_twin(
            query, live=live.tolist(), centroids=by_node, decoder=decoder, weight=0.3, sharpness=SHARPNESS,
            beam=len(live), leaves=len(live),
        )  # fmt: skip
        twin = {node.prefix: node for node in reached}
        assert sorted(twin) == live.tolist()
        np.testing.assert_allclose(log_p, [twin[leaf].log_p for leaf in live.tolist()], rtol=1e-3, atol=1e-3)
        expected = queries[0] @ by_node[2, reached[0].prefix] if query is queries[0] else None
        if expected is not None:
            assert reached[0].geometry == pytest.approx(float(expected), abs=1e-4)
        assert [node.score for node in reached] == sorted((node.score for node in reached), reverse=True)


@pytest.mark.parametrize("younger", [0.0, 0.5, 1.0])
def test_probabilities_of_all_live_leaves_sum_to_one(younger: float):
    random = np.random.default_rng(9)
    live = random_leaves(random, count=80)
    decoder = random_decoder(live[random.random(len(live)) >= younger] if younger < 1 else live[:0])
    queries = random.standard_normal((5, 12)).astype(np.float32)
    found = path_log_probabilities(
        queries,
        decoder.heads(queries),
        decoder.nodes,
        leaves=live,
        centroids=random.standard_normal((len(live), 12)).astype(np.float32),
        sharpness=SHARPNESS,
    )
    for level in found:
        np.testing.assert_allclose(np.exp(level.astype(np.float64)).sum(axis=1), 1.0, rtol=1e-4)


def test_a_narrow_beam_keeps_the_best_subcategories_and_only_their_leaves():
    live = [Leaf(0, sub, leaf).packed() for sub in range(4) for leaf in range(3)]
    axis = np.eye(4, dtype=np.float32)
    centroids = {(0, 0): axis.mean(axis=0)} | {(1, sub): axis[sub] for sub in range(4)}
    query = np.array([0.1, 0.4, 0.3, 0.2], dtype=np.float32)
    reached = beam_twin(query, live=live, centroids=centroids, beam=2, leaves=5)
    # Leaves without a centroid score as the node above; ties go to the lower path.
    assert [Leaf.unpacked(node.prefix) for node in reached] == [
        (0, 1, 0),
        (0, 1, 1),
        (0, 1, 2),
        (0, 2, 0),
        (0, 2, 1),
    ]
    assert [round(node.score, 3) for node in reached] == [0.4, 0.4, 0.4, 0.3, 0.3]
