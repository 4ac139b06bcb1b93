"""STATIC's way: a static trie as compressed rows, padded to the widest node of a level, as torch operations.

After the paper "Vectorizing the Trie" (2026; STATIC: sparse transition matrix-accelerated trie index for
constrained decoding): the first two levels as dense tables, the others as rows of (code, next node) pairs; a step
gathers as many pairs for each beam as the widest node of the level has. There is no insert: all is built again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.tries.made_ids import packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.tries.contract import Codes, Scores

_NOWHERE = -1


class PaddedRows:
    """Dense tables for two levels, then a row of pairs for each node."""

    name = "padded rows (STATIC's scheme)"

    def __init__(self, codes: Codes, level_sizes: tuple[int, ...]) -> None:
        self._level_sizes = level_sizes
        self._keys = np.sort(packed(codes, level_sizes))  # to build again; not counted as memory of the trie
        self._tables = _Tables(self._keys, level_sizes)

    def insert(self, codes: Codes) -> None:
        self._keys = np.sort(np.concatenate([self._keys, packed(codes, self._level_sizes)]))
        self._tables = _Tables(self._keys, self._level_sizes)

    def decode(self, scores: Scores, *, beam: int) -> Codes:
        trie = self._tables  # an insert beside this puts others in their place
        tables = [torch.from_numpy(table) for table in scores]
        totals, first = _best(torch.where(trie.first, tables[0], -torch.inf), beam)
        allowed = trie.second[first]  # (queries, beams, codes of the second level)
        candidates = torch.where(allowed >= 0, tables[1][:, None], -torch.inf) + totals[:, :, None]
        totals, places = _best(candidates.flatten(1), beam)
        codes = [first.gather(1, places // allowed.shape[2]), places % allowed.shape[2]]
        nodes = allowed.flatten(1).gather(1, places)
        for table, rows in zip(tables[2:], trie.rows, strict=True):
            totals, parents, found, nodes = rows.step(table, nodes, totals, beam)
            codes = [*(code.gather(1, parents) for code in codes), found]
        return _padded(torch.stack(codes, dim=2), totals, beam)

    @property
    def nbytes(self) -> int:
        trie = self._tables
        tables = [trie.first, trie.second, *(table for rows in trie.rows for table in rows.tables)]
        return sum(table.nbytes for table in tables)


class _Tables:
    """Of the first level which codes there are, of the second the node of each code, of the others their rows."""

    def __init__(self, keys: NDArray[np.int64], level_sizes: tuple[int, ...]) -> None:
        prefixes = [keys]
        for size in level_sizes[:0:-1]:
            prefixes.insert(0, np.unique(prefixes[0] // size))
        dense = np.full(level_sizes[:2], _NOWHERE, dtype=np.int64)
        dense.reshape(-1)[prefixes[1]] = np.arange(len(prefixes[1]))
        self.first = torch.from_numpy((dense >= 0).any(axis=1))
        self.second = torch.from_numpy(dense)
        self.rows = [
            _Rows(prefixes[level - 1], prefixes[level], level_sizes[level])
            for level in range(2, len(prefixes))
        ]


class _Rows:
    """The children of all nodes of one level, side by side."""

    def __init__(self, parents: NDArray[np.int64], children: NDArray[np.int64], size: int) -> None:
        starts = np.searchsorted(children, np.append(parents, parents[-1] + 1) * size)
        pairs = np.stack([children % size, np.arange(len(children))], axis=1)
        self._starts = torch.from_numpy(starts)
        self._widest = int(np.diff(starts).max())
        self._within = torch.arange(self._widest)
        # So that the padding of the last node stays inside.
        self._pairs = torch.from_numpy(np.pad(pairs, ((0, self._widest), (0, 0))).astype(np.int32))

    @property
    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._starts, self._pairs

    def step(
        self, table: torch.Tensor, nodes: torch.Tensor, totals: torch.Tensor, beam: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        starts = self._starts[nodes]
        counts = self._starts[nodes + 1] - starts
        pairs = self._pairs[starts[:, :, None] + self._within]  # (queries, beams, widest, 2)
        codes, next_nodes = pairs[..., 0].flatten(1).long(), pairs[..., 1].flatten(1).long()
        scored = table.gather(1, codes).view(*nodes.shape, self._widest) + totals[:, :, None]
        candidates = torch.where(self._within < counts[:, :, None], scored, -torch.inf)
        best, places = _best(candidates.flatten(1), beam)
        return best, places // self._widest, codes.gather(1, places), next_nodes.gather(1, places)


def _best(candidates: torch.Tensor, beam: int) -> tuple[torch.Tensor, torch.Tensor]:
    best, places = torch.topk(candidates, min(beam, candidates.shape[1]))
    return best, places


def _padded(codes: torch.Tensor, totals: torch.Tensor, beam: int) -> Codes:
    found = np.full((codes.shape[0], beam, codes.shape[2]), -1, dtype=np.int64)
    found[:, : codes.shape[1]] = torch.where(totals[:, :, None] > -torch.inf, codes, -1).numpy()
    return found
