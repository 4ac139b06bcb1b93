from __future__ import annotations

from agents.retired_keys import RetiredKeys
from streams.events.codebooks import ACTIVE_KEY, epoch_key, leaf_key, part_key
from streams.records import Record
from streams.semantic_id import Leaf

LEAVES = [Leaf(0, 1, number).packed() for number in range(5)]


def noted(*keys: str, deleted: tuple[str, ...] = ()) -> RetiredKeys:
    known = RetiredKeys()
    for value, written in ((b"{}", keys), (None, deleted)):
        for key in written:
            known.note(Record("codebooks", 0, 0, key.encode(), value))
    return known


def test_what_belongs_to_live_epochs_and_to_none_is_kept() -> None:
    known = noted(ACTIVE_KEY, "roll_back", epoch_key(3), leaf_key(3, LEAVES[0]), part_key(3, 0))
    assert known.trees(live=[3]) == []
    assert known.rest(live=[3], most=10) == []


def test_all_of_an_epoch_that_is_over_is_named_until_it_is_deleted() -> None:
    keys = [part_key(2, 0), part_key(2, 1), *(leaf_key(epoch, leaf) for epoch in (1, 2) for leaf in LEAVES)]
    known = noted(epoch_key(1), epoch_key(2), epoch_key(3), *keys, part_key(3, 0), leaf_key(3, LEAVES[0]))
    assert known.trees(live=[3, 2]) == [epoch_key(1)]
    assert known.rest(live=[3], most=100) == keys
    assert known.rest(live=[3], most=7) == keys[:7]
    for key in (epoch_key(1), *keys[:7]):
        known.note(Record("codebooks", 0, 0, key.encode(), None))
    assert known.trees(live=[3, 2]) == []
    assert known.rest(live=[3], most=100) == keys[7:]
