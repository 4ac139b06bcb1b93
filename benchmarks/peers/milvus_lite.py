"""Milvus Lite: segments of at most 100,000 rows, each with an HNSW of FAISS, by its embedded engine (no gRPC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from milvus_lite import CollectionSchema, DataType, FieldSchema, MilvusLite

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_BATCH = 5_000


class Milvus:
    """New rows are scanned in memory until a flush writes them as a segment with an index."""

    name: ClassVar[str] = "Milvus Lite"
    settings: ClassVar[str] = "HNSW M 16, efConstruction 200, segments of up to 100,000 rows; ef"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128)
    visible_by: ClassVar[str] = "insert returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = False

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._database = MilvusLite(str(folder))
        fields = [
            FieldSchema(name="row", dtype=DataType.INT64, is_primary=True),
            FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=vectors.shape[1]),
        ]
        self._rows = self._database.create_collection("rows", CollectionSchema(fields=fields))
        for first in range(0, len(vectors), _BATCH):
            self.insert(first, vectors[first : first + _BATCH])
        self._rows.flush()
        parameters = {"M": 16, "efConstruction": 200}
        self._rows.create_index("vector", {"index_type": "HNSW", "metric_type": "IP", "params": parameters})
        self._rows.load()

    def open(self, folder: Path) -> None:
        self._database = MilvusLite(str(folder))
        self._rows = self._database.get_collection("rows")
        self._rows.load()

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        found = self._rows.search(
            [query.tolist()], top_k=count, metric_type="IP", output_fields=[], search_params={"ef": effort}
        )
        return np.asarray([hit["id"] for hit in found[0]], dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        self._rows.insert(
            [{"row": first + row, "vector": vector} for row, vector in enumerate(vectors.tolist())]
        )

    def delete(self, rows: Rows) -> None:
        self._rows.delete(rows.tolist())

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        self._rows.flush()
