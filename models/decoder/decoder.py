"""The decoder as it serves: a small network in ONNX Runtime, and an embedding of every node of the tree.

    log p(child | parent, query) = log-softmax over siblings of heads(query)[level] · embedding(child) + bias(child)

The network runs once for a query; only the children of the nodes that the beam keeps are ever scored. A node that
was born after training has no embedding: it takes its parent's log p and a share by geometry, see `scores.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import onnxruntime
import orjson
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.decoder.levels import BITS_BELOW, LEVELS, Codes, Floats
from streams.errors import ModelError

NETWORK_FILE, NODES_FILE = "decoder.onnx", "decoder.safetensors"
FILES = (NETWORK_FILE, NODES_FILE)

MANY_YOUNGER = 0.3
"""The share of leaves without an embedding from which on geometry counts four times as much."""
YOUNGER_FACTOR = 4.0


class Nodes(NamedTuple):
    """The nodes of one level that have an embedding.

    prefixes: packed, ascending, int64 (m,). embeddings: float32 (m, h). biases: float32 (m,).
    """

    prefixes: Codes
    embeddings: Floats
    biases: Floats


@dataclass(frozen=True)
class DecoderDescription:
    """What a decoder belongs to and how it is used.

    epoch: of the tree whose nodes it knows. stamp: of the encoder whose query vectors it reads, of `dimension`
    numbers. weight: w in geometry + w · log p, tuned on held-out queries; 0 when the learned part did not help.
    sharpness: geometry times this are the logits by which nodes younger than the decoder take their share.
    """

    epoch: int
    stamp: str
    dimension: int
    weight: float
    sharpness: float


class Decoder:
    """p(id | query) for one tree. Read-only and safe for threads; made by `from_files` or by training."""

    def __init__(self, description: DecoderDescription, *, network: bytes, nodes: Sequence[Nodes]) -> None:
        """Raises ModelError when the parts do not fit together."""
        _check_nodes(nodes)
        self.description = description
        self._network = network
        self._nodes = tuple(nodes)
        self._session = _session(network)
        self._check_network()

    @property
    def width(self) -> int:
        """h: how many numbers a head and an embedding have."""
        return int(self._nodes[0].embeddings.shape[1])

    def heads(self, queries: Floats) -> Floats:
        """What the network makes of queries (n, d): float32 (n, 3, h), one vector for each level."""
        found: Floats = self._session.run(["heads"], {"queries": np.ascontiguousarray(queries, np.float32)})[
            0
        ]
        return found

    def nodes(self, level: int) -> Nodes:
        """The known nodes of a level: 0 categories, 1 subcategories, 2 leaves."""
        return self._nodes[level]

    def weight(self, younger: float = 0.0) -> float:
        """w, given the share of live leaves that are younger than this decoder."""
        return self.description.weight / (YOUNGER_FACTOR if younger >= MANY_YOUNGER else 1.0)

    def reweighted(self, weight: float) -> Decoder:
        """The same decoder with another w."""
        return Decoder(replace(self.description, weight=weight), network=self._network, nodes=self._nodes)

    def to_files(self) -> dict[str, bytes]:
        """Its two files by name."""
        tensors = {
            f"{name}.{level}": np.ascontiguousarray(array)
            for level, nodes in enumerate(self._nodes)
            for name, array in nodes._asdict().items()
        }
        metadata = {"description": orjson.dumps(asdict(self.description)).decode()}
        return {NETWORK_FILE: self._network, NODES_FILE: safetensors.save(tensors, metadata=metadata)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, epoch: int, stamp: str) -> Decoder:
        """The inverse of `to_files`. Raises ModelError for damaged files, another epoch or another encoder."""
        try:
            data = files[NODES_FILE]
            description = _description(data)
            tensors = safetensors.load(data)
            nodes = [
                Nodes(*(tensors[f"{name}.{level}"] for name in Nodes._fields)) for level in range(LEVELS)
            ]
            network = files[NETWORK_FILE]
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"a decoder is damaged or not whole: {error!r}") from error
        if description.epoch != epoch:
            raise ModelError(f"this decoder is for epoch {description.epoch}, not for epoch {epoch}")
        if description.stamp != stamp:
            raise ModelError(f"this decoder reads vectors of {description.stamp}, not of {stamp}")
        return cls(description, network=network, nodes=nodes)

    def _check_network(self) -> None:
        queries = self._session.get_inputs()[0].shape
        heads = self._session.get_outputs()[0].shape
        wanted = [self.description.dimension], [LEVELS, self.width]
        if (queries[1:], heads[1:]) != wanted:
            raise ModelError(f"a decoder's network is {queries} -> {heads}, its nodes want {wanted}")


def _description(data: bytes) -> DecoderDescription:
    # The header is JSON behind its length (8 bytes, little endian); the library reads it from files only.
    length = int.from_bytes(data[:8], "little")
    return DecoderDescription(
        **orjson.loads(orjson.loads(data[8 : 8 + length])["__metadata__"]["description"])
    )


def _check_nodes(nodes: Sequence[Nodes]) -> None:
    if len(nodes) != LEVELS or len({level.embeddings.shape[1:] for level in nodes}) != 1:
        raise ModelError(f"a decoder has {LEVELS} levels of embeddings of one width")
    above = np.zeros(1, dtype=np.int64)
    bits_above = BITS_BELOW[0]
    for (prefixes, embeddings, biases), bits in zip(nodes, BITS_BELOW, strict=True):
        if not len(prefixes) == len(embeddings) == len(biases):
            raise ModelError("a level of a decoder has prefixes, embeddings and biases of different lengths")
        if np.any(np.diff(prefixes) <= 0):
            raise ModelError("the prefixes of a decoder do not ascend")
        if not np.isin(prefixes >> (bits_above - bits) if bits != bits_above else 0, above).all():
            raise ModelError("a decoder has a node without its parent")
        if not (np.isfinite(embeddings).all() and np.isfinite(biases).all()):
            raise ModelError("a decoder has an embedding that is no number")
        above, bits_above = prefixes, bits


def _session(network: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # 40 us of work: threads would only wait for each other
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise ModelError(f"a decoder's network cannot be read: {error}") from error
