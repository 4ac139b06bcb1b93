"""The live trie of this project behind the benchmark's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.beam import decode
from state.trie import LiveTrie

if TYPE_CHECKING:
    from benchmarks.tries.contract import Codes, Scores


class Live:
    """`state.trie.LiveTrie` and `state.beam.decode`."""

    name = "trieflow"

    def __init__(self, codes: Codes, level_sizes: tuple[int, ...]) -> None:
        self._trie = LiveTrie(level_sizes)
        self._trie.insert(codes)

    def insert(self, codes: Codes) -> None:
        self._trie.insert(codes)

    def decode(self, scores: Scores, *, beam: int) -> Codes:
        found = decode(self._trie, scores, beam=beam)
        missing = np.arange(beam) >= found.counts[:, None]
        return np.where(missing[:, :, None], -1, found.codes)

    @property
    def nbytes(self) -> int:
        return self._trie.nbytes
