"""LanceDB: columns on disk, with an HNSW over int8 rows in one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors


class Lance:
    """New rows are scanned as they are until `optimize` puts them into the index."""

    name: ClassVar[str] = "LanceDB"
    settings: ClassVar[str] = "IVF_HNSW_SQ, 1 partition, m 20, ef_construction 300, refine_factor 2; ef"
    efforts: ClassVar[tuple[int, ...]] = (20, 32, 64, 128, 256)  # at least refine_factor times 10
    visible_by: ClassVar[str] = "add returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._table = lancedb.connect(folder).create_table("rows", _rows(0, vectors))
        self._table.create_index("vector", config=HnswSq(distance_type="dot", num_partitions=1))

    def open(self, folder: Path) -> None:
        self._table = lancedb.connect(folder).open_table("rows")

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        asked = self._table.search(query).distance_type("dot").limit(count).select(["row", "_distance"])
        found = asked.ef(effort).refine_factor(2).to_arrow()
        return np.asarray(found["row"].to_numpy(), dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        self._table.add(_rows(first, vectors))

    def delete(self, rows: Rows) -> None:
        self._table.delete(f"row in ({', '.join(map(str, rows.tolist()))})")

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        self._table.optimize()


def _rows(first: int, vectors: Vectors) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.table(
        {
            "row": pa.array(np.arange(first, first + len(vectors))),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
