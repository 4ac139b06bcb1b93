from __future__ import annotations

import numpy as np
import pytest

from state.trie import LiveTrie

SIZES = (16, 256, 4_096, 65_536)


def trie_of(*ids: tuple[int, ...], sizes: tuple[int, ...] = SIZES) -> LiveTrie:
    trie = LiveTrie(sizes)
    trie.insert(np.array(ids), np.arange(len(ids)))
    return trie


def test_an_id_is_there_when_insert_returns_and_gone_when_delete_returns() -> None:
    trie = LiveTrie(SIZES)
    assert trie.insert(np.array([3, 17, 402, 8]), np.array([7])) == 1
    assert (3, 17, 402, 8) in trie
    assert trie.value((3, 17, 402, 8)) == 7
    assert trie.delete(np.array([3, 17, 402, 8])) == 1
    assert (3, 17, 402, 8) not in trie
    assert len(trie) == 0


def test_an_id_that_is_there_gets_the_new_value_and_is_not_counted_twice() -> None:
    trie = trie_of((1, 2, 3, 4))
    assert trie.insert(np.array([1, 2, 3, 4]), np.array([9])) == 0
    assert (len(trie), trie.value((1, 2, 3, 4))) == (1, 9)


def test_a_branch_without_ids_does_not_exist() -> None:
    trie = trie_of((3, 17, 402, 0), (3, 2, 1, 5))
    trie.delete(np.array([3, 17, 402, 0]))
    assert trie.children((3,))[0].tolist() == [2]
    assert trie.node((3, 17)) is None
    trie.delete(np.array([3, 2, 1, 5]))
    assert trie.children()[0].tolist() == []


def test_children_are_told_with_the_number_of_ids_below_them() -> None:
    trie = trie_of((3, 17, 402, 0), (3, 17, 402, 9), (3, 2, 1, 5), (15, 255, 4_095, 65_535))
    assert [part.tolist() for part in trie.children()] == [[3, 15], [3, 1]]
    assert [part.tolist() for part in trie.children((3,))] == [[2, 17], [1, 2]]
    assert [part.tolist() for part in trie.children((3, 17, 402))] == [[0, 9], [1, 1]]
    assert [trie.count(prefix) for prefix in ((), (3,), (3, 17, 402, 9), (4,))] == [4, 3, 1, 0]


@pytest.mark.parametrize("bad", [[16, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 65_536]])
def test_a_code_out_of_its_range_is_refused_and_nothing_is_put_in(bad: list[int]) -> None:
    trie = LiveTrie(SIZES)
    with pytest.raises(ValueError, match="out of its range"):
        trie.insert(np.array([[0, 0, 0, 0], bad]))
    assert len(trie) == 0


def test_ids_of_another_length_and_values_that_do_not_fit_are_refused() -> None:
    trie = LiveTrie(SIZES)
    with pytest.raises(ValueError, match="4 codes"):
        trie.insert(np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="one value"):
        trie.insert(np.array([1, 2, 3, 4]), np.array([1 << 40]))
    with pytest.raises(ValueError, match="a level has"):
        LiveTrie((4, 0))


def test_a_snapshot_restores_ids_and_values() -> None:
    random = np.random.default_rng(0)
    codes = np.unique(np.stack([random.integers(0, size, 5_000) for size in SIZES], axis=1), axis=0)
    trie = LiveTrie(SIZES)
    trie.insert(codes, np.arange(len(codes)))
    again = LiveTrie.from_bytes(trie.to_bytes())
    assert again.level_sizes == SIZES
    for ours, theirs in zip(again.items(), trie.items(), strict=True):
        assert (ours == theirs).all()


def test_a_damaged_snapshot_is_refused() -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        LiveTrie.from_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")


def test_deleted_ids_make_room_for_new_ones() -> None:
    trie, random = LiveTrie(SIZES), np.random.default_rng(0)
    held = 0
    for step in range(60):
        codes = np.stack([random.integers(0, size, 500) for size in SIZES], axis=1)
        trie.insert(codes)
        trie.delete(codes)
        if step == 10:
            held = trie.nbytes
    assert len(trie) == 0
    assert trie.nbytes <= 1.1 * held, "memory is used again"


def test_a_trie_of_one_level_is_a_set() -> None:
    trie = trie_of((5,), (2,), sizes=(10,))
    assert trie.children()[0].tolist() == [2, 5]
    assert trie.delete(np.array([[5], [9]])) == 1
    assert [code for (code,) in trie.items()[0].tolist()] == [2]
