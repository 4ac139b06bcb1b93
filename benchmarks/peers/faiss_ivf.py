"""FAISS: inverted lists of 4-bit codes scanned in registers, the best of them scored again in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import faiss
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_REFINED = 20  # candidates scored again for each row asked for


class FaissIvf:
    """Its fast-scan lists do not take rows out."""

    name: ClassVar[str] = "FAISS IVF, PQ fast scan, refine"
    settings: ClassVar[str] = "IVF8192, PQ128x4fs, refine the 20 k best in float32; nprobe"
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256)
    visible_by: ClassVar[str] = "add returns"
    deletes: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False
    _index: Any

    def build(self, vectors: Vectors, folder: Path) -> None:
        leaves = min(8192, max(16, len(vectors) // 64))
        made = faiss.index_factory(
            vectors.shape[1], f"IVF{leaves},PQ{vectors.shape[1] // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT
        )
        made.train(vectors)
        made.add(vectors)
        faiss.write_index(made, str(folder / "index.faiss"))
        self.open(folder)

    def open(self, folder: Path) -> None:
        self._index = faiss.read_index(str(folder / "index.faiss"))
        self._index.k_factor = _REFINED
        self._lists = faiss.extract_index_ivf(self._index.base_index)

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        self._lists.nprobe = effort
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
        """Nothing to do: the lists stay as trained."""
