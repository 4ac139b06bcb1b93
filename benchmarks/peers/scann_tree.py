"""ScaNN: a tree with a second leaf for each row (SOAR), 4-bit codes, the best scored again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scann

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_ROWS_A_LEAF = 100
_REORDERED = 200


class Scann:
    """About 100 rows a leaf and SOAR, as its documentation recommends below ten million rows."""

    name: ClassVar[str] = "ScaNN"
    settings: ClassVar[str] = (
        "n/100 leaves, SOAR 1.5, AH 4 bit (2 a block, 0.2), reorder 200; leaves_to_search"
    )
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256)
    visible_by: ClassVar[str] = "upsert returns"
    deletes: ClassVar[bool] = False  # with SOAR its `delete` ends the process (segmentation fault, 1.4.2)
    concurrent: ClassVar[bool] = False

    def build(self, vectors: Vectors, folder: Path) -> None:
        leaves = max(16, len(vectors) // _ROWS_A_LEAF)
        self._searcher = (
            scann.scann_ops_pybind.builder(vectors, 10, "dot_product")
            .tree(
                num_leaves=leaves,
                num_leaves_to_search=64,
                training_sample_size=min(len(vectors), 250_000),
                soar_lambda=1.5,
                overretrieve_factor=1.8,
            )
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(_REORDERED)
            .build(docids=[str(row) for row in range(len(vectors))])
        )
        self._searcher.serialize(str(folder))

    def open(self, folder: Path) -> None:
        self._searcher = scann.scann_ops_pybind.load_searcher(str(folder))

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        rows, _ = self._searcher.search(query, final_num_neighbors=count, leaves_to_search=effort)
        return np.asarray([int(row) for row in rows], dtype=np.int64)

    def insert(self, first: int, vectors: Vectors) -> None:
        names = [str(row) for row in range(first, first + len(vectors))]
        self._searcher.upsert(names, vectors, batch_size=len(names))

    def delete(self, rows: Rows) -> None:
        raise NotImplementedError

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """Nothing that it does not do by itself."""

    def tidy(self) -> None:
        """`rebalance` trains all anew, a minute or more: not part of the figures."""
