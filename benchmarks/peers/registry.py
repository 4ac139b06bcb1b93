"""The engines by a short name, loaded when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from benchmarks.peers.contract import Peer

PEERS = {
    "trieflow-generative": "trieflow_generative:Generative",
    "trieflow-dense": "trieflow_dense:TrieflowDense",
    "trieflow-fused": "trieflow_fused:Fused",
    "faiss-hnsw": "faiss_hnsw:FaissHnsw",
    "faiss-ivf": "faiss_ivf:FaissIvf",
    "usearch-int8": "usearch_hnsw:UsearchInt8",
    "usearch-float32": "usearch_hnsw:UsearchFloat32",
    "scann": "scann_tree:Scann",
    "qdrant-edge": "qdrant_edge:QdrantEdge",
    "lancedb": "lance:Lance",
    "milvus-lite": "milvus_lite:Milvus",
    "zvec": "zvec_hnsw:Zvec",
}


def peer(name: str) -> Peer:
    """A fresh engine.

    Raises:
        ModuleNotFoundError: its package is not installed.
    """
    module, _, kind = PEERS[name].partition(":")
    return cast("Peer", getattr(import_module(f"benchmarks.peers.{module}"), kind)())
