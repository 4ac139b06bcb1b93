"""The constrained beam over a live trie: only codes that continue to a live id are scored or kept.

One compiled pass for each level walks the children of the live beams and keeps the best by insertion into a
sorted list, compared with its last: no mask over the vocabulary, no sort of all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, observe
from state.lists import COUNT_BITS, COUNT_MASK
from state.trie import VALUE_BITS, VALUE_MASK, LiveTrie

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """The best ids of each query, best first; row i holds `counts[i]` of them, the rest is undefined.

    codes: (n, beam, depth); values, scores: (n, beam). All ids were live when the walk passed them.
    """

    codes: NDArray[np.int64]
    values: Numbers
    scores: Floats
    counts: Numbers


@dataclass(frozen=True)
class Beams:
    """Live beams, best first: `nodes` after the last level are values. `parents`: places among those before."""

    nodes: Numbers
    codes: Numbers
    parents: Numbers
    scores: Floats


def decode(trie: LiveTrie, log_probabilities: Sequence[Floats], *, beam: int) -> Decoded:
    """Decode whole ids for n queries whose scores do not depend on the path.

    log_probabilities: for each level (n, codes of the level). The score of an id is their sum; of equal ones that
    with the better prefix is first, then the lower code. There are fewer than `beam` ids when fewer are live.
    Raises ValueError for a wrong shape.
    """
    tables = tuple(np.ascontiguousarray(table, dtype=np.float32) for table in log_probabilities)
    queries = len(tables[0]) if tables else 0
    if [table.shape for table in tables] != [(queries, size) for size in trie.level_sizes]:
        raise ValueError(f"each level needs a table of shape (queries, codes): {trie.level_sizes} codes")
    found = Decoded(
        codes=np.empty((queries, beam, trie.depth), dtype=np.int64),
        values=np.empty((queries, beam), dtype=np.int64),
        scores=np.empty((queries, beam), dtype=np.float32),
        counts=np.empty(queries, dtype=np.int64),
    )
    with trie.readers.reading():
        children = trie.arrays.children
        _decode(
            children.extents, children.pool, tables, found.codes, found.values, found.scores, found.counts
        )
    return found


def step(trie: LiveTrie, nodes: Numbers, scores: Floats, log_probabilities: Floats, *, beam: int) -> Beams:
    """One level for the beams of one query, for decoders that look at the path.

    nodes, scores: (b,), as `start` and `step` gave them; log_probabilities: (b, codes of the level), or (1, codes)
    for all. Hold `trie.readers.reading()` from the first step to the last.
    """
    children = trie.arrays.children
    entries, parents = np.empty(beam, dtype=np.int64), np.empty(beam, dtype=np.int64)
    best = np.empty(beam, dtype=np.float32)
    table = np.ascontiguousarray(log_probabilities, dtype=np.float32)
    kept = _step(children.extents, children.pool, nodes, scores, table, entries, parents, best)
    entries = entries[:kept]
    return Beams(entries & VALUE_MASK, entries >> VALUE_BITS, parents[:kept], best[:kept])


def start() -> tuple[Numbers, Floats]:
    """Nodes and scores to begin with: the root alone."""
    return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32)


@compiled
def _decode(
    extents: Numbers,
    pool: Numbers,
    tables: tuple[Floats, ...],
    codes: NDArray[np.int64],
    values: Numbers,
    scores: Floats,
    counts: Numbers,
) -> None:
    queries, beam, depth = codes.shape
    nodes, entries = np.zeros(beam, dtype=np.int64), np.empty(beam, dtype=np.int64)
    parents = np.empty((depth, beam), dtype=np.int64)
    known, best = np.zeros(beam, dtype=np.float32), np.empty(beam, dtype=np.float32)
    chosen = np.empty((depth, beam), dtype=np.int64)
    for query in range(queries):
        live = 1
        nodes[0], known[0] = 0, 0.0
        for level in range(depth):
            table = tables[level][query : query + 1]
            kept = _step(extents, pool, nodes[:live], known[:live], table, entries, parents[level], best)
            for i in range(kept):
                nodes[i], chosen[level, i], known[i] = (
                    entries[i] & VALUE_MASK,
                    entries[i] >> VALUE_BITS,
                    best[i],
                )
            live = kept
        counts[query] = live
        for i in range(live):
            values[query, i], scores[query, i] = nodes[i], known[i]
            at = i
            for level in range(depth - 1, -1, -1):
                codes[query, i, level] = chosen[level, at]
                at = parents[level, at]


@compiled
def _step(
    extents: Numbers,
    pool: Numbers,
    nodes: Numbers,
    known: Floats,
    table: Floats,
    entries: Numbers,
    parents: Numbers,
    best: Floats,
) -> Scalar:
    beam, kept = len(best), 0
    for at in range(len(nodes)):
        extent = observe(extents, nodes[at])
        offset = extent >> COUNT_BITS
        row = table[min(at, len(table) - 1)]
        base = known[at]
        for i in range(offset, offset + (extent & COUNT_MASK)):
            entry = pool[i]
            score = base + row[entry >> VALUE_BITS]
            if kept == beam and score < best[beam - 1]:
                continue
            kept = _keep(entries, parents, best, kept, entry, at, score)
    return kept


@compiled
def _keep(
    entries: Numbers,
    parents: Numbers,
    best: Floats,
    kept: Scalar,
    entry: Scalar,
    parent: Scalar,
    score: Scalar,
) -> Scalar:
    """Insert into the sorted list when it belongs there."""
    place = kept
    while place > 0 and (
        score > best[place - 1]
        or (
            score == best[place - 1]
            and (
                parent < parents[place - 1]
                or (parent == parents[place - 1] and entry >> VALUE_BITS < entries[place - 1] >> VALUE_BITS)
            )
        )
    ):
        place -= 1
    if place == len(best):
        return kept
    last = min(kept, len(best) - 1)
    for i in range(last, place, -1):
        entries[i], parents[i], best[i] = entries[i - 1], parents[i - 1], best[i - 1]
    entries[place], parents[place], best[place] = entry, parent, score
    return min(kept + 1, len(best))
