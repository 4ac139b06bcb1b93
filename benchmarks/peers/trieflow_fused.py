"""The generative and the dense path of this project together: the best of both answers, by exact rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.trieflow_dense import TrieflowDense
from benchmarks.peers.trieflow_generative import Generative

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.contract import Rows, Vectors

_MEMBERS = 32
"""Rows that the generative path scores for each node that the dense walk keeps: they cost about the same."""


class Fused:
    """Both hold all rows and are changed together; a row's score is its inner product, whichever path found it."""

    name: ClassVar[str] = "trieflow, fused"
    settings: ClassVar[str] = (
        f"both paths one after the other; expansion, {_MEMBERS} times as many rows scored"
    )
    efforts: ClassVar[tuple[int, ...]] = (16, 32, 64, 128, 256)
    visible_by: ClassVar[str] = "apply and put return"
    deletes: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def __init__(self) -> None:
        self._generative = Generative()
        self._dense = TrieflowDense()

    def build(self, vectors: Vectors, folder: Path) -> None:
        for name, path in (("generative", self._generative), ("dense", self._dense)):
            (folder / name).mkdir()
            path.build(vectors, folder / name)

    def open(self, folder: Path) -> None:
        self._generative.open(folder / "generative")
        self._dense.open(folder / "dense")

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        found = (
            self._generative.search(query, count, _MEMBERS * effort),
            self._dense.search(query, count, effort),
        )
        rows = np.unique(np.concatenate(found))
        return np.asarray(rows[np.argsort(-self._dense.scores(rows, query))[:count]])

    def insert(self, first: int, vectors: Vectors) -> None:
        self._generative.insert(first, vectors)
        self._dense.insert(first, vectors)

    def delete(self, rows: Rows) -> None:
        self._generative.delete(rows)
        self._dense.delete(rows)

    def make_visible(self) -> None:
        """At once."""

    def beside(self) -> None:
        self._generative.beside()
        self._dense.beside()

    def tidy(self) -> None:
        self._generative.tidy()
        self._dense.tidy()
