"""Trees and decoders with random numbers, for tests of how they are used and not of what they know."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.decoder.decoder import Decoder, DecoderDescription
from models.decoder.levels import tree_levels
from models.decoder.network import DecoderNetwork, to_onnx
from streams.semantic_id import Leaf

STAMP = "test@1/float32"


def random_leaves(random: np.random.Generator, *, count: int) -> NDArray[np.int64]:
    """At most `count` packed leaves, ascending, below a few subcategories of a few categories."""
    leaves = {
        Leaf(int(random.integers(4)), int(random.integers(5)), int(random.integers(4096))).packed()
        for _ in range(count)
    }
    return np.array(sorted(leaves), dtype=np.int64)


def random_network(leaves: NDArray[np.int64], *, dimension: int, width: int, seed: int) -> DecoderNetwork:
    """A network all of whose numbers are random."""
    torch.manual_seed(seed)
    nodes = [len(level.prefixes) for level in tree_levels(leaves)]
    network = DecoderNetwork(dimension=dimension, hidden=16, width=width, nodes=nodes)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    torch.nn.init.normal_(network.mean)
    torch.nn.init.uniform_(network.scale, 0.5, 2.0)
    return network


def random_decoder(
    leaves: NDArray[np.int64], *, dimension: int = 12, width: int = 6, seed: int = 0, epoch: int = 3
) -> Decoder:
    """A decoder that knows these leaves."""
    network = random_network(leaves, dimension=dimension, width=width, seed=seed)
    description = DecoderDescription(epoch, STAMP, dimension, weight=0.5, sharpness=20.0)
    return Decoder(description, network=to_onnx(network), nodes=network.nodes(tree_levels(leaves)))
