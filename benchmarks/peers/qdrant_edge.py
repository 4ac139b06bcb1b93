"""Qdrant Edge: the engine of Qdrant in this process. HNSW over int8 rows, the best scored again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import qdrant_edge as edge

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_BATCH = 2_000


class QdrantEdge:
    """New points are scanned as they are until `optimize` puts them into the graph."""

    name: ClassVar[str] = "Qdrant Edge"
    settings: ClassVar[str] = "HNSW m 16, ef_construct 100, int8 in memory, rescored, one segment; hnsw_ef"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256)
    visible_by: ClassVar[str] = "update returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._shard = edge.EdgeShard.create(str(folder), _configuration(vectors.shape[1]))
        for first in range(0, len(vectors), _BATCH):
            self.insert(first, vectors[first : first + _BATCH])
        self.tidy()
        self._shard.flush()

    def open(self, folder: Path) -> None:
        self._shard = edge.EdgeShard.load(str(folder))

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        request = edge.SearchRequest(
            query=edge.Query.Nearest(query.tolist()),
            limit=count,
            params=edge.SearchParams(
                hnsw_ef=effort, quantization=edge.QuantizationSearchParams(rescore=True, oversampling=2.0)
            ),
        )
        return np.asarray([int(point.id) for point in self._shard.search(request)], dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        points = [edge.Point(first + row, vector) for row, vector in enumerate(vectors.tolist())]
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def delete(self, rows: Rows) -> None:
        self._shard.update(edge.UpdateOperation.delete_points(rows.tolist()))

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        self._shard.optimize()


def _configuration(dimension: int) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot),
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
        quantization_config=edge.ScalarQuantizationConfig(
            type=edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned
        ),
        optimizers=edge.EdgeOptimizersConfig(default_segment_number=1),
        max_search_threads=1,
    )
