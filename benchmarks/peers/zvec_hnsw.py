"""Zvec: HNSW over int8 rows, the best scored again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import zvec

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_BATCH = 1_000


class Zvec:
    """m 15 and int8 as in the project's own benchmark of a million rows; new rows are scanned until `optimize`."""

    name: ClassVar[str] = "Zvec"
    settings: ClassVar[str] = "HNSW m 15, ef_construction 500, int8, refined, contiguous memory; ef"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256)
    visible_by: ClassVar[str] = "insert returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def build(self, vectors: Vectors, folder: Path) -> None:
        index = zvec.HnswIndexParam(
            metric_type=zvec.MetricType.IP,
            m=15,
            ef_construction=500,
            quantize_type=zvec.QuantizeType.INT8,
            use_contiguous_memory=True,
        )
        vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, vectors.shape[1], index_param=index)
        schema = zvec.CollectionSchema(name="rows", vectors=vector)
        self._rows = zvec.create_and_open(path=str(folder / "rows"), schema=schema)
        for first in range(0, len(vectors), _BATCH):
            self.insert(first, vectors[first : first + _BATCH])
        self.tidy()
        self._rows.flush()

    def open(self, folder: Path) -> None:
        self._rows = zvec.open(str(folder / "rows"))

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        parameters = zvec.HnswQueryParam(ef=effort, is_using_refiner=True)
        found = self._rows.query(
            zvec.Query(field_name="vector", vector=query.tolist(), param=parameters), topk=count
        )
        return np.asarray([int(row.id) for row in found], dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        rows = enumerate(vectors.tolist(), first)
        self._rows.insert([zvec.Doc(id=str(row), vectors={"vector": vector}) for row, vector in rows])

    def delete(self, rows: Rows) -> None:
        self._rows.delete([str(row) for row in rows.tolist()])

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        self._rows.optimize()
