from __future__ import annotations

import numpy as np
import pytest

from state.beam import decode, start, step
from state.trie import LiveTrie

SIZES = (2, 3)
IDS = [(0, 0), (0, 2), (1, 1)]


def trie_of(*ids: tuple[int, ...]) -> LiveTrie:
    trie = LiveTrie(SIZES)
    if ids:
        trie.insert(np.array(ids), np.arange(len(ids)))
    return trie


def test_the_best_ids_come_first_with_the_sum_of_their_levels() -> None:
    tables = [np.array([[-1.0, -2.0]]), np.array([[-0.5, -0.25, -4.0]])]
    found = decode(trie_of(*IDS), tables, beam=2)
    assert found.codes[0].tolist() == [[0, 0], [1, 1]]
    assert found.scores[0].tolist() == [-1.5, -2.25]
    assert found.values[0].tolist() == [0, 2]


def test_a_beam_larger_than_the_legal_continuations_returns_these_and_no_filler() -> None:
    tables = [np.zeros((3, 2)), np.zeros((3, 3))]
    found = decode(trie_of(*IDS), tables, beam=50)
    assert found.counts.tolist() == [3, 3, 3]
    assert sorted(map(tuple, found.codes[2, :3].tolist())) == IDS


def test_an_empty_trie_gives_nothing() -> None:
    assert decode(trie_of(), [np.zeros((1, 2)), np.zeros((1, 3))], beam=4).counts.tolist() == [0]


def test_what_was_deleted_is_not_walked() -> None:
    trie = trie_of(*IDS)
    trie.delete(np.array([[0, 0], [0, 2]]))
    found = decode(trie, [np.array([[9.0, 0.0]]), np.zeros((1, 3))], beam=4)
    assert found.codes[0, : found.counts[0]].tolist() == [[1, 1]]


def test_equal_scores_come_in_the_order_of_codes() -> None:
    found = decode(trie_of((1, 2), (1, 0), (0, 1)), [np.zeros((1, 2)), np.zeros((1, 3))], beam=3)
    assert found.codes[0].tolist() == [[0, 1], [1, 0], [1, 2]]


def test_steps_by_hand_give_what_decode_gives() -> None:
    random = np.random.default_rng(0)
    trie = trie_of(*[(a, b) for a in range(2) for b in range(3)])
    tables = [random.normal(size=(1, size)).astype(np.float32) for size in SIZES]
    whole = decode(trie, tables, beam=4)
    with trie.readers.reading():
        first = step(trie, *start(), tables[0], beam=4)
        last = step(trie, first.nodes, first.scores, tables[1], beam=4)
    assert last.codes.tolist() == whole.codes[0, :, 1].tolist()
    assert first.codes[last.parents].tolist() == whole.codes[0, :, 0].tolist()
    np.testing.assert_allclose(last.scores, whole.scores[0])


def test_a_step_may_score_each_beam_by_its_own_path() -> None:
    trie = trie_of(*IDS)
    with trie.readers.reading():
        first = step(trie, *start(), np.zeros((1, 2), dtype=np.float32), beam=2)
        by_path = np.array([[0, 0, 5], [0, 9, 0]], dtype=np.float32)
        last = step(trie, first.nodes, first.scores, by_path, beam=1)
    assert (last.parents.tolist(), last.codes.tolist(), last.scores.tolist()) == ([1], [1], [9.0])


def test_tables_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) codes"):
        decode(trie_of(*IDS), [np.zeros((1, 2)), np.zeros((1, 4))], beam=1)
