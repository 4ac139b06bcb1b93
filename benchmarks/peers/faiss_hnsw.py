"""FAISS: HNSW over float32 vectors. The reference: nothing of the others is faster at the same recall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import faiss
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors


class FaissHnsw:
    """Rows cannot be taken out of its graph."""

    name: ClassVar[str] = "FAISS HNSW32"
    settings: ClassVar[str] = "M 32, efConstruction 200, float32; efSearch"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 48, 64, 96, 128, 256)
    visible_by: ClassVar[str] = "add returns"
    deletes: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._index: Any = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 200
        self._index.add(vectors)
        faiss.write_index(self._index, str(folder / "index.faiss"))

    def open(self, folder: Path) -> None:
        self._index = faiss.read_index(str(folder / "index.faiss"))

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        self._index.hnsw.efSearch = effort
        _, rows = self._index.search(query[None], count)
        return np.asarray(rows[0])

    def insert(self, first: int, vectors: Vectors) -> None:
        assert self._index.ntotal == first  # rows are numbered by their order
        self._index.add(vectors)

    def delete(self, rows: Rows) -> None:
        raise NotImplementedError

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        """Nothing to do."""
