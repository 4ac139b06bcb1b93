"""The network of the decoder in torch, and its export. Only training comes here.

A linear reading of the query plus a hidden layer gives one vector a level. It starts as geometry: the linear
reading and the embeddings are the principal axes of what tells siblings' centroids apart; training adds to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.decoder.decoder import Nodes
from models.decoder.levels import LEVELS, Floats, Level, level_centroids

_OPSET = 20
_IR_VERSION = 10  # what ONNX Runtime 1.22 reads


class DecoderNetwork(torch.nn.Module):  # type: ignore[misc]
    """queries (b, d) -> heads (b, 3, h); and the embeddings and biases of the nodes, by level."""

    def __init__(self, *, dimension: int, hidden: int, width: int, nodes: Sequence[int]) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        self.linear = torch.nn.Linear(dimension, LEVELS * width, bias=False)
        self.inner = torch.nn.Linear(dimension, hidden)
        self.outer = torch.nn.Linear(hidden, LEVELS * width)
        torch.nn.init.zeros_(self.outer.weight)
        torch.nn.init.zeros_(self.outer.bias)
        self.embeddings = torch.nn.ParameterList(torch.zeros(count, width) for count in nodes)
        self.biases = torch.nn.ParameterList(torch.zeros(count) for count in nodes)

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        hidden = torch.nn.functional.gelu(self.inner((queries - self.mean) * self.scale))
        heads: torch.Tensor = self.linear(queries) + self.outer(hidden)
        return heads.view(len(queries), LEVELS, self.width)

    def nodes(self, levels: Sequence[Level]) -> list[Nodes]:
        """What the decoder keeps of each level."""
        return [
            Nodes(level.prefixes, _array(embeddings), _array(biases))
            for level, embeddings, biases in zip(levels, self.embeddings, self.biases, strict=True)
        ]


def begin_as_geometry(
    network: DecoderNetwork,
    levels: tuple[Level, ...],
    *,
    centroids: Floats,
    queries: Floats,
    sharpness: float,
) -> None:
    """Set logit(child) = sharpness / spread · query · (centroid - parent's centroid), in the h widest axes.

    centroids: of the leaves, (L, d). queries: a few thousand, for their mean and spread.
    """
    deviation = queries.std(axis=0)
    varies = deviation > 1e-6  # a number that is the same in all queries says nothing
    scale = np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)
    network.mean.copy_(torch.from_numpy(queries.mean(axis=0)))
    network.scale.copy_(torch.from_numpy(scale.astype(np.float32)))
    above = centroids.mean(axis=0, keepdims=True)
    weights = []
    for number, (level, middle) in enumerate(
        zip(levels, level_centroids(levels, levels[-1].prefixes, centroids), strict=True)
    ):
        apart = middle - above[level.parents]
        axes = np.linalg.eigh(apart.T @ apart)[1][:, ::-1][:, : network.width]
        spread = max(float((queries @ apart.T).std()), 1e-6)
        root = np.sqrt(sharpness / spread)
        weights.append(root * axes.T)
        network.embeddings[number].data.copy_(torch.from_numpy(root * apart @ axes))
        above = middle
    network.linear.weight.data.copy_(torch.from_numpy(np.concatenate(weights)))


def to_onnx(network: DecoderNetwork) -> bytes:
    """The network as ONNX: `queries` (n, d) -> `heads` (n, 3, h). The same network gives the same bytes."""
    dimension, width = network.mean.shape[0], network.width
    inner = _array(network.inner.weight) * _array(network.scale)
    constants = {
        "linear": _array(network.linear.weight),
        "inner": inner,
        "inner_bias": _array(network.inner.bias) - inner @ _array(network.mean),
        "outer": _array(network.outer.weight),
        "outer_bias": _array(network.outer.bias),
        "shape": np.array([-1, LEVELS, width], dtype=np.int64),
    }
    steps = [
        helper.make_node("Gemm", ["queries", "linear"], ["read"], transB=1),
        helper.make_node("Gemm", ["queries", "inner", "inner_bias"], ["hidden"], transB=1),
        helper.make_node("Gelu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "outer", "outer_bias"], ["added"], transB=1),
        helper.make_node("Add", ["read", "added"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["heads"]),
    ]
    graph = helper.make_graph(
        steps,
        "decoder",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["n", dimension])],
        [helper.make_tensor_value_info("heads", TensorProto.FLOAT, ["n", LEVELS, width])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return found
