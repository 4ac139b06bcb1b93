from __future__ import annotations

import numpy as np

from state.trie import Trie, leaf_of
from streams.semantic_id import Leaf, SemanticId


def leaf(*codes: int) -> int:
    return Leaf(*codes).packed()


def trie_of(leaves: dict[tuple[int, int, int], list[int]]) -> Trie:
    trie = Trie()
    for codes, slots in leaves.items():
        for slot in slots:
            trie.add(leaf(*codes), slot)
    return trie


def test_a_branch_without_documents_does_not_exist() -> None:
    trie = trie_of({(3, 17, 402): [0], (3, 2, 1): [5]})
    assert trie.live(0).tolist() == [3]
    trie.remove(leaf(3, 17, 402), 0)
    assert trie.live(2).tolist() == [leaf(3, 2, 1)]
    assert trie.live(1).tolist() == [leaf(3, 2, 1) >> 12]
    trie.remove(leaf(3, 2, 1), 5)
    assert [trie.live(level).tolist() for level in range(3)] == [[], [], []]
    assert len(trie) == 0


def test_children_come_with_the_position_of_their_parent() -> None:
    trie = trie_of({(0, 0, 0): [0], (0, 255, 4095): [1], (15, 0, 7): [2], (15, 0, 9): [3], (7, 1, 1): [4]})
    parents = np.array([15 << 8, 0 << 8 | 255, 9 << 8])
    prefixes, owner = trie.children(2, parents)
    assert prefixes.tolist() == [leaf(15, 0, 7), leaf(15, 0, 9), leaf(0, 255, 4095)]
    assert owner.tolist() == [0, 0, 1]
    nothing, _ = trie.children(1, np.empty(0, dtype=np.int64))
    assert nothing.tolist() == []


def test_slots_of_leaves_and_below_paths() -> None:
    trie = trie_of({(3, 17, 402): [4, 2], (3, 17, 9): [1], (3, 18, 0): [7], (4, 0, 0): [9]})
    assert trie.slots([leaf(3, 17, 402), leaf(4, 0, 0), leaf(5, 5, 5)]).tolist() == [2, 4, 9]
    assert trie.slots([]).tolist() == []
    assert set(trie.below((3,))) == {1, 2, 4, 7}
    assert set(trie.below((3, 17))) == {1, 2, 4}
    assert set(trie.below((3, 17, 9))) == {1}
    assert set(trie.below((15,))) == set()
    assert trie.size_of(leaf(3, 17, 402)) == 2
    assert trie.size_of(leaf(9, 9, 9)) == 0


def test_changing_what_below_gave_changes_no_leaf() -> None:
    trie = trie_of({(1, 1, 1): [3]})
    trie.below((1,)).add(99)
    assert set(trie.below((1, 1, 1))) == {3}


def test_the_leaf_of_an_id() -> None:
    assert leaf_of(SemanticId(3, 17, 402, 8).packed()) == leaf(3, 17, 402)
