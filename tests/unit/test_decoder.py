"""The decoder as it serves: its arrays, its files, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from safetensors import numpy as safetensors

from models.decoder.decoder import (
    MANY_YOUNGER,
    NETWORK_FILE,
    NODES_FILE,
    YOUNGER_FACTOR,
    Decoder,
    DecoderDescription,
    Nodes,
)
from models.decoder.levels import BITS_BELOW
from models.decoder.network import to_onnx
from streams.errors import ModelError
from tests.decoders import STAMP, random_decoder, random_leaves, random_network

RANDOM = np.random.default_rng(5)
LEAVES = random_leaves(RANDOM, count=60)
QUERIES = RANDOM.standard_normal((7, 12)).astype(np.float32)


@pytest.fixture
def decoder() -> Decoder:
    return random_decoder(LEAVES)


def test_onnx_gives_what_torch_gives():
    network = random_network(LEAVES, dimension=12, width=6, seed=1)
    decoder = Decoder(
        DecoderDescription(3, STAMP, 12, weight=0.5, sharpness=20.0),
        network=to_onnx(network),
        nodes=random_decoder(LEAVES)._nodes,
    )
    expected = network(torch.from_numpy(QUERIES)).detach().numpy()
    np.testing.assert_allclose(decoder.heads(QUERIES), expected, rtol=1e-4, atol=1e-4)
    assert to_onnx(network) == to_onnx(network)


def test_a_query_has_one_head_for_each_level_whatever_stands_beside_it(decoder: Decoder):
    heads = decoder.heads(QUERIES)
    assert heads.shape == (7, 3, decoder.width)
    assert heads.dtype == np.float32
    np.testing.assert_allclose(decoder.heads(QUERIES[3:4])[0], heads[3], rtol=1e-5, atol=1e-5)


def test_every_prefix_of_every_leaf_is_a_node(decoder: Decoder):
    for level, bits in enumerate(BITS_BELOW):
        nodes = decoder.nodes(level)
        assert nodes.prefixes.tolist() == sorted({int(leaf) >> bits for leaf in LEAVES})
        assert nodes.embeddings.shape == (len(nodes.prefixes), decoder.width)
        assert nodes.biases.shape == (len(nodes.prefixes),)


def test_files_bring_back_the_same_decoder(decoder: Decoder):
    again = Decoder.from_files(decoder.to_files(), epoch=3, stamp=STAMP)
    assert again.description == decoder.description
    assert np.array_equal(again.heads(QUERIES), decoder.heads(QUERIES))
    for level in range(3):
        for mine, theirs in zip(again.nodes(level), decoder.nodes(level), strict=True):
            assert np.array_equal(mine, theirs)
    assert again.to_files() == decoder.to_files()


def test_serving_needs_no_torch(decoder: Decoder, tmp_path: Path):
    for name, content in decoder.to_files().items():
        (tmp_path / name).write_bytes(content)
    program = f"""
import sys
for name in ("torch", "onnx", "onnxscript"):
    sys.modules[name] = None
import pathlib, numpy
from models.bundles import BundleStore
from models.decoder.decoder import Decoder
from models.decoder.scores import path_log_probabilities
files = {{path.name: path.read_bytes() for path in pathlib.Path({str(tmp_path)!r}).iterdir()}}
decoder = Decoder.from_files(files, epoch=3, stamp={STAMP!r})
print(decoder.heads(numpy.ones((1, 12), numpy.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 3, 6)", done.stderr


@pytest.mark.parametrize(("epoch", "stamp"), [(4, STAMP), (3, "test@2/float32")])
def test_another_epoch_or_encoder_is_refused(decoder: Decoder, epoch: int, stamp: str):
    with pytest.raises(ModelError, match=r"for epoch 3, not for epoch 4|not of test@2"):
        Decoder.from_files(decoder.to_files(), epoch=epoch, stamp=stamp)


def _without_embeddings(data: bytes) -> bytes:
    tensors = safetensors.load(data)
    del tensors["embeddings.2"]
    return safetensors.save(tensors, metadata=_metadata(data))


def _metadata(data: bytes) -> dict[str, str]:
    return orjson.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: files | {NODES_FILE: files[NODES_FILE][:-5]},
        lambda files: files | {NODES_FILE: b""},
        lambda files: files | {NODES_FILE: _without_embeddings(files[NODES_FILE])},
        lambda files: files | {NETWORK_FILE: files[NETWORK_FILE][:100]},
        lambda files: {NODES_FILE: files[NODES_FILE]},
        lambda files: {NETWORK_FILE: files[NETWORK_FILE]},
    ],
)
def test_damaged_files_are_refused(decoder: Decoder, damage):
    with pytest.raises(ModelError):
        Decoder.from_files(damage(decoder.to_files()), epoch=3, stamp=STAMP)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda nodes: nodes[:2], "3 levels"),
        (lambda nodes: [*nodes[:2], nodes[2]._replace(prefixes=nodes[2].prefixes[::-1].copy())], "ascend"),
        (lambda nodes: [nodes[0], _first(nodes[1], 1), nodes[2]], "without its parent"),
        (lambda nodes: [_first(nodes[0], 1), *nodes[1:]], "without its parent"),
        (lambda nodes: [*nodes[:2], nodes[2]._replace(biases=nodes[2].biases[:-1])], "different lengths"),
        (lambda nodes: [*nodes[:2], nodes[2]._replace(biases=nodes[2].biases * np.nan)], "no number"),
        (lambda nodes: [_narrow(level) for level in nodes], "network"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(decoder: Decoder, change, told: str):
    nodes = [decoder.nodes(level) for level in range(3)]
    network = decoder.to_files()[NETWORK_FILE]
    with pytest.raises(ModelError, match=told):
        Decoder(decoder.description, network=network, nodes=change(nodes))


def _first(nodes: Nodes, count: int) -> Nodes:
    return Nodes(*(array[:count] for array in nodes))


def _narrow(nodes: Nodes) -> Nodes:
    return nodes._replace(embeddings=nodes.embeddings[:, 1:])


def test_a_network_of_another_dimension_is_refused(decoder: Decoder):
    network = decoder.to_files()[NETWORK_FILE]
    nodes = [decoder.nodes(level) for level in range(3)]
    with pytest.raises(ModelError, match="network"):
        Decoder(replace(decoder.description, dimension=13), network=network, nodes=nodes)


def test_geometry_counts_more_when_many_leaves_are_younger(decoder: Decoder):
    assert decoder.weight() == decoder.weight(MANY_YOUNGER / 2) == 0.5
    assert decoder.weight(MANY_YOUNGER) == decoder.weight(1.0) == 0.5 / YOUNGER_FACTOR
    assert decoder.reweighted(0.25).weight() == 0.25
