"""The dense path of this project, with the best of a walk scored again by exact rows, as a searcher does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from state.dense import DenseIndex

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_STAMP = "benchmark"
_SCORED_AGAIN = 5
"""Times as many as are asked for. Four bits a number leave the ten nearest among the best twenty."""


class TrieflowDense:
    """Rows are kept beside the graph in 16 bits a number; the searcher has them for its other paths too."""

    name: ClassVar[str] = "trieflow, dense path"
    settings: ClassVar[str] = "4 bits a number, 63 links, expansion 128; expansion of a walk, 16-bit rows"
    efforts: ClassVar[tuple[int, ...]] = (16, 24, 32, 48, 64, 96, 128, 256)
    visible_by: ClassVar[str] = "put returns"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def build(self, vectors: Vectors, folder: Path) -> None:
        self._index = DenseIndex(vectors.shape[1], capacity=len(vectors))
        self._rows = np.empty((0, vectors.shape[1]), dtype=np.float16)
        self.insert(0, vectors)
        self._index.save(folder / "dense.npz", stamp=_STAMP)
        np.save(folder / "rows.npy", self._rows[: len(vectors)])

    def open(self, folder: Path) -> None:
        self._rows = np.load(folder / "rows.npy")
        slots = np.arange(len(self._rows))
        self._index = DenseIndex.load(
            folder / "dense.npz", stamp=_STAMP, slots=slots.astype(np.int32), identities=slots
        )

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        some = min(max(effort, count), _SCORED_AGAIN * count)
        slots, _ = self._index.search(query, some, expansion=effort)
        return slots[np.argsort(-self.scores(slots, query))[:count]]

    def scores(self, rows: Rows, query: Vectors) -> Vectors:
        """Inner products of some rows with a query, from 16 bits a number."""
        return np.asarray(self._rows[rows].astype(np.float32) @ query)

    def insert(self, first: int, vectors: Vectors) -> None:
        if first + len(vectors) > len(self._rows):
            more = np.empty((max(len(vectors), len(self._rows) // 4), vectors.shape[1]), dtype=np.float16)
            self._rows = np.concatenate([self._rows, more])
        for row, vector in enumerate(vectors, start=first):
            self._rows[row] = vector
            self._index.put(row, [vector], identity=row, version=self._index.version(row))

    def delete(self, rows: Rows) -> None:
        for row in rows.tolist():
            self._index.remove(row)

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        """A list or two around what was taken out, as the follower does between two changes."""
        self._index.upkeep(2)

    def tidy(self) -> None:
        """Mend the lists around what was taken out, as the follower does at rest."""
        while self._index.upkeep(4096):
            pass
