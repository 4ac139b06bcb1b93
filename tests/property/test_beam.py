"""The constrained beam against the same walk in plain Python, and against all ids sorted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.beam import decode
from state.trie import LiveTrie

SIZES = (3, 4, 5)
ids = st.tuples(*(st.integers(0, size - 1) for size in SIZES))


def naive(live: set[tuple[int, ...]], tables: list[np.ndarray], beam: int) -> list[tuple[int, ...]]:
    """Of equal scores, that with the better prefix is first, then the lower code."""
    kept: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for level, table in enumerate(tables):
        children = [
            (-(score + table[code]), rank, code, prefix)
            for rank, (prefix, score) in enumerate(kept)
            for code in {each[level] for each in live if each[:level] == prefix}
        ]
        kept = [((*prefix, code), -lost) for lost, _, code, prefix in sorted(children)[:beam]]
    return [prefix for prefix, _ in kept]


@settings(deadline=None, max_examples=150)
@given(live=st.sets(ids, max_size=40), beam=st.integers(1, 70), seed=st.integers(0, 1_000))
def test_the_beam_is_the_walk_node_by_node(live: set[tuple[int, ...]], beam: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    # Small whole numbers: sums are exact, and often equal.
    tables = [random.integers(-3, 1, (2, size)).astype(np.float32) for size in SIZES]
    trie = LiveTrie(SIZES)
    if live:
        trie.insert(np.array(sorted(live)))
    found = decode(trie, tables, beam=beam)
    for query in range(2):
        rows = [tuple(row) for row in found.codes[query, : found.counts[query]].tolist()]
        assert rows == naive(live, [table[query] for table in tables], beam)
        assert set(rows) <= live
        assert len(set(rows)) == len(rows)
        if beam >= 60:
            assert set(rows) == live
