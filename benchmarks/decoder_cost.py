"""What the decoder costs one query: the network once, then an embedding for each child of a live node.

Vectors are random: speed does not depend on their direction, and nothing is said about recall.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.tables import markdown
from benchmarks.timing import in_turns
from models.decoder.decoder import Decoder, DecoderDescription
from models.decoder.levels import LEVELS, tree_levels
from models.decoder.network import DecoderNetwork, to_onnx
from models.decoder.pairs import Sample
from models.decoder.training import DistillationOptions, distil
from models.encoders.base import unit_rows
from state.centroid_tree import CentroidTree
from state.routing import Learned
from streams.semantic_id import Leaf

TREES = ((2_048, 256), (31_250, 512))  # leaves and numbers of a vector: 64 thousand documents, and a million
WIDTHS = (64, 128)
_HIDDEN = 512
_FOUND = 32
_SECONDS = 0.2
_TRAINED = 3_000
_MICROSECOND = 1e-6


def cost(*, rounds: int) -> dict[str, Any]:
    """Microseconds of one query on one thread, candidates in turns."""
    figures: dict[str, Any] = {}
    for leaves, dimension in TREES:
        candidates = _candidates(leaves, dimension)
        timings = in_turns(candidates, rounds=rounds, seconds=_SECONDS)
        name = f"{leaves:,} leaves, {dimension} numbers"
        query = {way: timing.summary(unit_s=_MICROSECOND) for way, timing in timings.items()}
        training = _training_step(leaves, dimension)
        print(f"\n## {name}\n\nTraining, 256 queries: {training:.0f} ms. A query, µs:\n")
        header = ["step", "p50", "p99", "lowest_round", "highest_round", "calls"]
        print(markdown(header, [[way, *(row[key] for key in header[1:])] for way, row in query.items()]))
        figures[name] = {"query, µs": query, "training, ms for 256 queries": training}
    return figures


def _training_step(leaves: int, dimension: int) -> float:
    """The median milliseconds of a step."""
    random = np.random.default_rng(0)
    codes = _leaves(leaves)
    vectors = unit_rows(random.standard_normal((_TRAINED, dimension)).astype(np.float32))
    sample = Sample(
        documents=vectors,
        paths=random.choice(codes, (_TRAINED, 2)),
        leaves=codes,
        centroids=unit_rows(random.standard_normal((leaves, dimension)).astype(np.float32)),
        queries=vectors,
        own=np.arange(_TRAINED),
        queries_are_documents=True,
    )
    ends: list[float] = []
    options = DistillationOptions(epochs=1)
    distil(
        sample,
        epoch=1,
        stamp="random",
        options=options,
        on_progress=lambda progress: ends.append(time.perf_counter()),
    )
    return float(np.median(np.diff(ends))) * 1_000


def _candidates(leaves: int, dimension: int) -> dict[str, Callable[[int], object]]:
    random = np.random.default_rng(0)
    codes, centroids = (
        _leaves(leaves),
        unit_rows(random.standard_normal((leaves, dimension)).astype(np.float32)),
    )
    queries = unit_rows(random.standard_normal((256, dimension)).astype(np.float32))
    candidates: dict[str, Callable[[int], object]] = {
        "route by geometry": _route(codes, centroids, queries, None)
    }
    for width in WIDTHS:
        network = _network(codes, dimension, width)
        decoder = _decoder(codes, network)
        asked = [query[None] for query in queries]
        in_torch, in_numpy = _in_torch(network, asked), _in_numpy(network, asked)
        np.testing.assert_allclose(in_numpy(0), decoder.heads(asked[0]).ravel(), atol=1e-2)
        candidates |= {
            f"heads, h = {width}": partial(_heads, decoder, asked),
            f"the same in torch, h = {width}": in_torch,
            f"the same in numpy, h = {width}": in_numpy,
            f"logits of all nodes, h = {width}": _all_nodes(decoder, asked),
            f"route by geometry + w · log p, h = {width}": _route(codes, centroids, queries, decoder),
        }
    return candidates


def _heads(decoder: Decoder, asked: list[np.ndarray], number: int) -> np.ndarray:
    return decoder.heads(asked[number % len(asked)])


def _in_torch(network: DecoderNetwork, asked: list[np.ndarray]) -> Callable[[int], object]:
    def heads(number: int) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(asked[number % len(asked)])).numpy()

    return heads


def _in_numpy(network: DecoderNetwork, asked: list[np.ndarray]) -> Callable[[int], np.ndarray]:
    """As plainly as it can be written, with the cheaper form of GELU."""
    weights = [
        each.detach().numpy() for each in (network.linear.weight, network.inner.weight, network.outer.weight)
    ]
    linear, inner, outer = weights
    inner_bias, outer_bias = network.inner.bias.detach().numpy(), network.outer.bias.detach().numpy()
    root = np.float32(math.sqrt(2 / math.pi))

    def heads(number: int) -> np.ndarray:
        query = asked[number % len(asked)][0]
        hidden = inner @ query + inner_bias
        active = hidden * (1 + np.tanh(root * (hidden + np.float32(0.044715) * hidden**3))) / 2
        return linear @ query + outer @ active + outer_bias

    return heads


def _all_nodes(decoder: Decoder, asked: list[np.ndarray]) -> Callable[[int], object]:
    """What a network with the whole tree inside would compute, before any softmax."""
    nodes, heads = [decoder.nodes(level) for level in range(LEVELS)], decoder.heads(asked[0])[0]
    return lambda number: [
        level.embeddings @ head + level.biases for level, head in zip(nodes, heads, strict=True)
    ]


def _route(
    codes: np.ndarray, centroids: np.ndarray, queries: np.ndarray, decoder: Decoder | None
) -> Callable[[int], object]:
    tree = CentroidTree(centroids.shape[1], leaves=len(codes))
    tree.put(codes, centroids)
    heads = None
    if decoder is not None:
        for level in range(LEVELS):
            tree.learn(level, *decoder.nodes(level))
        heads = decoder.heads(queries)

    def route(number: int) -> object:
        i = number % len(queries)
        learned = None if heads is None else Learned(heads[i : i + 1], 0.02)
        return tree.route(queries[i : i + 1], _FOUND, among=tree.every, learned=learned)

    return route


def _leaves(count: int) -> np.ndarray:
    """Leaves in 1.5 · √count subcategories of 16 categories, as many in each."""
    groups = round(1.5 * math.sqrt(count))
    rows = np.arange(count)
    group = rows % groups
    codes = [
        Leaf(int(g) % 16, int(g) // 16, int(row) // groups).packed()
        for row, g in zip(rows, group, strict=True)
    ]
    return np.array(sorted(codes), dtype=np.int64)


def _network(codes: np.ndarray, dimension: int, width: int) -> DecoderNetwork:
    torch.manual_seed(0)
    nodes = [len(level.prefixes) for level in tree_levels(codes)]
    network = DecoderNetwork(dimension=dimension, hidden=_HIDDEN, width=width, nodes=nodes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def _decoder(codes: np.ndarray, network: DecoderNetwork) -> Decoder:
    description = DecoderDescription(1, "random", len(network.mean), weight=0.02, sharpness=20.0)
    return Decoder(description, network=to_onnx(network), nodes=network.nodes(tree_levels(codes)))
