"""Binary search: the ids as one sorted array of numbers; a prefix is a range of it.

A step takes the codes with the best scores and looks each up below each beam, twice as many each time until enough
are found; a node with fewer ids than that is read as it is. Nothing is left out: the answer is exact.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.tries.made_ids import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from benchmarks.tries.contract import Codes, Scores

_FIRST_LOOK = 4  # times the beam


class _Beams(NamedTuple):
    prefixes: NDArray[np.int64]
    totals: NDArray[np.float32]


class SortedKeys:
    """8 bytes an id and no other structure."""

    name = "binary search on sorted ids"

    def __init__(self, codes: Codes, level_sizes: tuple[int, ...]) -> None:
        self._level_sizes = level_sizes
        self._keys = np.sort(packed(codes, level_sizes))

    def insert(self, codes: Codes) -> None:
        keys = np.sort(packed(codes, self._level_sizes))
        self._keys = np.insert(self._keys, np.searchsorted(self._keys, keys), keys)

    def decode(self, scores: Scores, *, beam: int) -> Codes:
        keys = self._keys  # an insert beside this puts another array in its place
        found = np.full((len(scores[0]), beam, len(scores)), -1, dtype=np.int64)
        for query in range(len(found)):
            beams = _Beams(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32))
            for level in range(len(scores)):
                beams = self._step(keys, beams, scores[level][query], level, beam)
            found[query, : len(beams.prefixes)] = unpacked(beams.prefixes, self._level_sizes)
        return found

    def _step(
        self, keys: NDArray[np.int64], beams: _Beams, row: NDArray[np.float32], level: int, beam: int
    ) -> _Beams:
        size = self._level_sizes[level]
        span = int(np.prod(self._level_sizes[level + 1 :], dtype=np.int64))
        starts = np.searchsorted(keys, beams.prefixes * size * span)
        ends = np.searchsorted(keys, (beams.prefixes + 1) * size * span)
        looks = _Looks(row, beam)
        prefixes, totals = [], []
        for prefix, total, start, end in zip(beams.prefixes, beams.totals, starts, ends, strict=True):
            codes = _children(int(prefix) * size, keys[start:end], looks, span)
            prefixes.append(prefix * size + codes)
            totals.append(total + row[codes])
        return _best(np.concatenate(prefixes), np.concatenate(totals), beam)

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes


class _Looks:
    """The codes of the best scores, twice as many each time, all at last; the same for all beams of a step."""

    def __init__(self, row: NDArray[np.float32], beam: int) -> None:
        self.beam = beam
        self._row = row
        self._found: list[NDArray[np.int64]] = []

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for number in count():
            if number == len(self._found):
                self._found.append(self._best(_FIRST_LOOK * self.beam << number))
            yield self._found[number]
            if len(self._found[number]) == len(self._row):
                return

    def _best(self, look: int) -> NDArray[np.int64]:
        size = len(self._row)
        return np.arange(size) if look >= size else np.argpartition(self._row, size - look)[size - look :]


def _children(first: int, keys: NDArray[np.int64], looks: _Looks, span: int) -> NDArray[np.int64]:
    """Codes below a prefix, at least its `beam` best. `keys`: the ids below it; `first`: its first child."""
    found = np.empty(0, dtype=np.int64)
    for codes in looks:
        if len(keys) <= len(codes):
            return np.asarray(np.unique(keys // span) - first)
        at = np.minimum(np.searchsorted(keys, (first + codes) * span), len(keys) - 1)
        found = codes[keys[at] // span == first + codes]
        if len(found) >= looks.beam:
            break
    return found


def _best(prefixes: NDArray[np.int64], totals: NDArray[np.float32], beam: int) -> _Beams:
    order = np.argsort(-totals, kind="stable")[:beam]
    return _Beams(prefixes[order], totals[order])
