"""The ways to decode only ids that exist, of the benchmark `trie`: all find what a naive search finds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from benchmarks.tries.live_trie import Live
from benchmarks.tries.made_ids import LEVEL_SIZES, made_ids, made_scores, packed, unpacked
from benchmarks.tries.padded_rows import PaddedRows
from benchmarks.tries.sorted_keys import SortedKeys

SIZES = (4, 6, 40, 300)


def naive(ids: set[tuple[int, ...]], scores, beam: int) -> list[list[tuple[int, ...]]]:
    """Level by level with sets of tuples; sums in float32 from the first level on."""
    answers = []
    for query in range(len(scores[0])):
        beams = {(): np.float32(0)}
        for level, table in enumerate(scores):
            longer = {path[: level + 1] for path in ids if path[:level] in beams}
            totals = {path: beams[path[:-1]] + table[query, path[-1]] for path in longer}
            beams = dict(sorted(totals.items(), key=lambda item: -item[1])[:beam])
        answers.append(list(beams))
    return answers


def decoders():
    made = [Live, PaddedRows, SortedKeys]
    try:
        from benchmarks.tries.dictionary import DictionaryTrie

        made.append(DictionaryTrie)
    except ModuleNotFoundError:  # transformers is in the extra `bench` alone
        pass
    return made


@pytest.mark.parametrize("decoder", decoders(), ids=lambda each: each.__name__)
@pytest.mark.parametrize("beam", [1, 3, 12, 500])
def test_all_find_what_a_naive_search_finds(decoder, beam):
    ids = made_ids(400, seed=3, level_sizes=SIZES)
    scores = made_scores(5, seed=4, level_sizes=SIZES)
    found = decoder(ids, SIZES).decode(scores, beam=beam)
    expected = naive(set(map(tuple, ids.tolist())), scores, beam)
    assert found.shape == (5, beam, 4)
    for rows, wanted in zip(found.tolist(), expected, strict=True):
        assert [tuple(row) for row in rows[: len(wanted)]] == wanted
        assert all(code == -1 for row in rows[len(wanted) :] for code in row)


@pytest.mark.parametrize("decoder", decoders(), ids=lambda each: each.__name__)
def test_what_was_put_in_is_found_at_once(decoder):
    ids = made_ids(300, seed=5, level_sizes=SIZES)
    scores = made_scores(3, seed=6, level_sizes=SIZES)
    trie = decoder(ids[:200], SIZES)
    trie.insert(ids[200:201])
    trie.insert(ids[201:])
    expected = naive(set(map(tuple, ids.tolist())), scores, 20)
    assert [[tuple(row) for row in rows] for rows in trie.decode(scores, beam=20).tolist()] == expected
    assert trie.nbytes > 0


def test_made_ids_are_different_and_within_their_levels():
    ids = made_ids(5_000, seed=1)
    assert len(np.unique(ids, axis=0)) == 5_000
    assert (ids >= 0).all()
    assert (ids < LEVEL_SIZES).all()
    assert np.array_equal(unpacked(packed(ids, LEVEL_SIZES), LEVEL_SIZES), ids)
    counts = np.bincount(ids[:, 0], minlength=16)
    assert counts[0] > 2 * counts[15]  # uneven, as drawn


def test_made_scores_are_log_probabilities():
    for table in made_scores(3, seed=2):
        np.testing.assert_allclose(np.exp(table).sum(axis=1), 1.0, rtol=1e-4)


@pytest.mark.parametrize("decoder", [Live, PaddedRows, SortedKeys], ids=lambda each: each.__name__)
def test_a_search_beside_inserts_finds_only_ids_that_are_put_in(decoder):
    ids = made_ids(3_000, seed=7, level_sizes=SIZES)
    known = set(map(tuple, ids.tolist()))
    scores = made_scores(1, seed=8, level_sizes=SIZES)
    trie = decoder(ids[:500], SIZES)
    feeder = threading.Thread(target=lambda: [trie.insert(ids[at : at + 1]) for at in range(500, 3_000)])
    feeder.start()
    while feeder.is_alive():
        found = [tuple(row) for row in trie.decode(scores, beam=10)[0].tolist()]
        assert len(set(found)) == 10
        assert known.issuperset(found)
    feeder.join()
