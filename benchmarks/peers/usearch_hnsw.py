"""USearch: HNSW with int8 or float32 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from usearch.index import Index

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors


class UsearchInt8:
    """The library's own defaults, rows as int8."""

    name: ClassVar[str] = "USearch, int8"
    settings: ClassVar[str] = "connectivity 16, expansion_add 128, int8; expansion_search"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256, 512)
    visible_by: ClassVar[str] = "add returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True
    _dtype: ClassVar[str] = "i8"

    def _empty(self, dimension: int) -> Index:
        return Index(ndim=dimension, metric="ip", dtype=self._dtype, connectivity=16, expansion_add=128)

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._index = self._empty(vectors.shape[1])
        self._index.add(np.arange(len(vectors)), vectors)
        self._index.save(str(folder / "index.usearch"))

    def open(self, folder: Path) -> None:
        self._index = Index.restore(str(folder / "index.usearch"))

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        self._index.expansion_search = effort
        return np.asarray(self._index.search(query, count, threads=1).keys, dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        self._index.add(np.arange(first, first + len(vectors)), vectors, threads=1)

    def delete(self, rows: Rows) -> None:
        self._index.remove(rows)

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        """Nothing to do: places of rows that were taken out are used again."""


class UsearchFloat32(UsearchInt8):
    """The same with rows as they are."""

    name: ClassVar[str] = "USearch, float32"
    settings: ClassVar[str] = "connectivity 16, expansion_add 128, float32; expansion_search"
    _dtype: ClassVar[str] = "f32"
