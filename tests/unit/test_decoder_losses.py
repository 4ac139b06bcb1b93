"""The terms of the loss: in torch what the arithmetic over whole trees is in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.decoder.levels import tree_levels
from models.decoder.losses import Paths, PathScores, contrast, cross_entropy, misalignment
from models.decoder.network import DecoderNetwork, begin_as_geometry
from models.decoder.scores import path_log_probabilities
from tests.decoders import random_decoder, random_leaves, random_network

RANDOM = np.random.default_rng(3)
LEAVES = random_leaves(RANDOM, count=80)
QUERIES = RANDOM.standard_normal((9, 12)).astype(np.float32)


def _scores(network: DecoderNetwork) -> PathScores:
    paths = Paths(tree_levels(LEAVES), device=torch.device("cpu"))
    return PathScores(network, network(torch.from_numpy(QUERIES)), paths)


def test_paths_score_in_torch_as_in_numpy():
    network, decoder = random_network(LEAVES, dimension=12, width=6, seed=0), random_decoder(LEAVES, seed=0)
    rows = torch.from_numpy(RANDOM.integers(len(LEAVES), size=(9, 15)))
    expected = path_log_probabilities(
        QUERIES,
        decoder.heads(QUERIES),
        decoder.nodes,
        leaves=LEAVES,
        centroids=np.zeros((len(LEAVES), 12), np.float32),
        sharpness=1.0,
    )[-1]
    found = _scores(network).of(rows).detach().numpy()
    np.testing.assert_allclose(
        found, np.take_along_axis(expected, rows.numpy(), axis=1), rtol=1e-3, atol=1e-3
    )


def test_gradients_are_those_of_the_plain_formula():
    network = random_network(LEAVES, dimension=12, width=6, seed=0)
    rows = torch.from_numpy(RANDOM.integers(len(LEAVES), size=(9, 4)))
    _scores(network).of(rows).sum().backward()
    fast = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    heads = network(torch.from_numpy(QUERIES))
    total = torch.zeros(())
    levels = tree_levels(LEAVES)
    for query in range(9):
        for leaf in rows[query].tolist():
            node = leaf
            for level in (2, 1, 0):
                logits = network.embeddings[level] @ heads[query, level] + network.biases[level]
                siblings = torch.from_numpy(levels[level].parents == levels[level].parents[node])
                total = total + logits[node] - torch.logsumexp(logits[siblings], dim=0)
                node = int(levels[level].parents[node])
    total.backward()
    for mine, parameter in zip(fast, network.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-3)


def test_a_row_of_minus_one_is_impossible_and_counts_for_nothing():
    scores = _scores(random_network(LEAVES, dimension=12, width=6, seed=0))
    found = scores.of(torch.tensor([[4, -1]] * 9))
    assert torch.isneginf(found[:, 1]).all()
    weights = torch.tensor([[1.0, 0.0]] * 9)
    torch.testing.assert_close(cross_entropy(found, weights), -found[:, 0].mean())


def test_contrast_is_a_softmax_over_answers_and_others():
    answers = torch.tensor([[0.0, 1.0, -torch.inf]])
    others = torch.tensor([[2.0, -torch.inf]])
    weights = torch.tensor([[0.25, 0.75, 0.0]])
    total = np.log(np.exp([0.0, 1.0, 2.0]).sum())
    assert float(contrast(answers, others, weights)) == pytest.approx(0.25 * total + 0.75 * (total - 1.0))


def test_heads_that_point_the_same_way_are_aligned_and_documents_do_not_move():
    queries = torch.randn(4, 3, 6, requires_grad=True)
    documents = torch.randn(4, 3, 6, requires_grad=True)
    assert float(misalignment(queries, 2.0 * queries).detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(misalignment(queries, -queries).detach()) == pytest.approx(2.0)
    misalignment(queries, documents).backward()
    assert documents.grad is None
    assert queries.grad is not None


def test_training_begins_as_geometry():
    """With as many numbers a node as a vector has, the logits are those of query · centroid, scaled."""
    centroids = RANDOM.standard_normal((len(LEAVES), 12)).astype(np.float32)
    levels = tree_levels(LEAVES)
    network = DecoderNetwork(
        dimension=12, hidden=8, width=12, nodes=[len(level.prefixes) for level in levels]
    )
    begin_as_geometry(network, levels, centroids=centroids, queries=QUERIES, sharpness=3.0)
    scores = _scores(network).of(torch.arange(len(LEAVES)).repeat(9, 1)).detach().numpy()
    apart = QUERIES @ centroids.T
    for _, row in _pairs_of_siblings():
        a, b = row
        ratio = (scores[:, a] - scores[:, b]) / (apart[:, a] - apart[:, b])
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-2)
        assert float(np.median(ratio)) > 0


def _pairs_of_siblings() -> list[tuple[int, tuple[int, int]]]:
    leaves = tree_levels(LEAVES)[2]
    return [
        (parent, (int(start), int(end) - 1))
        for parent, (start, end) in enumerate(zip(leaves.starts[:-1], leaves.starts[1:], strict=True))
        if end - start > 1
    ]


def test_a_number_that_is_the_same_in_all_queries_says_nothing():
    queries = QUERIES.copy()
    queries[:, 5] = 1.0
    centroids = RANDOM.standard_normal((len(LEAVES), 12)).astype(np.float32)
    levels = tree_levels(LEAVES)
    network = DecoderNetwork(dimension=12, hidden=8, width=6, nodes=[len(level.prefixes) for level in levels])
    begin_as_geometry(network, levels, centroids=centroids, queries=queries, sharpness=3.0)
    assert float(network.scale[5]) == 0.0
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
