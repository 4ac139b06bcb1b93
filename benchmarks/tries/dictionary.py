"""The usual way: a trie of dictionaries behind the callback of transformers' constrained generation.

What `generate(prefix_allowed_tokens_fn=...)` does at each step: the library's own logits processor asks the
callback for the codes that may follow each beam and masks the others; the best of all beams times codes go on.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PrefixConstrainedLogitsProcessor

if TYPE_CHECKING:
    from benchmarks.tries.contract import Codes, Scores

_INT_BYTES = 28


class DictionaryTrie:
    """Dictionaries of dictionaries, walked from the root for every beam at every step."""

    name = "dictionary + transformers callback"

    def __init__(self, codes: Codes, level_sizes: tuple[int, ...]) -> None:
        self._level_sizes = level_sizes
        self._root: dict[int, Any] = {}
        self.insert(codes)

    def insert(self, codes: Codes) -> None:
        for path in codes.tolist():
            node = self._root
            for code in path:
                node = node.setdefault(code, {})

    def decode(self, scores: Scores, *, beam: int) -> Codes:
        queries = len(scores[0])
        processor = PrefixConstrainedLogitsProcessor(self._allowed, num_beams=beam)
        paths = torch.zeros((queries * beam, 0), dtype=torch.int64)
        totals = torch.full((queries, beam), -torch.inf)
        totals[:, 0] = 0.0  # as `generate` does: the other beams are copies of the first until the first step
        for table, size in zip(scores, self._level_sizes, strict=True):
            logits = (
                torch.from_numpy(table)[:, None].expand(queries, beam, size).reshape(queries * beam, size)
            )
            allowed = processor(paths, logits).view(queries, beam, size) + totals[:, :, None]
            totals, places = _best(allowed.view(queries, beam * size), beam)
            rows = (torch.arange(queries)[:, None] * beam + places // size).view(-1)
            paths = torch.cat([paths[rows], (places % size).view(-1, 1)], dim=1)
        found = paths.view(queries, beam, len(scores)).numpy()
        return np.where(np.isneginf(totals.numpy())[:, :, None], -1, found)

    def _allowed(self, _batch: int, path: torch.Tensor) -> list[int]:
        node = self._root
        for code in path.tolist():
            # A beam of score -inf may have left the trie; what follows it is never kept.
            node = node.get(code) or self._root
        return list(node)

    @property
    def nbytes(self) -> int:
        total, stack = 0, [self._root]
        while stack:
            node = stack.pop()
            total += sys.getsizeof(node) + _INT_BYTES * sum(code > 256 for code in node)
            stack.extend(node.values())
        return total


def _best(totals: torch.Tensor, beam: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `beam` largest of each row; there are as many, for a row has beam times codes entries."""
    best, places = torch.topk(totals, beam)
    return best, places
