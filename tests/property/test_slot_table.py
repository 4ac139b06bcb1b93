"""The slot table against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from state.slot_table import NO_SLOT, SlotTable

keys = st.one_of(st.integers(1, 12), st.sampled_from([2**63 - 1, 2**62, 2**32]))
changes = st.lists(st.dictionaries(keys, st.integers(NO_SLOT, 9), max_size=6), max_size=8)


@given(changes=changes, asked=st.lists(keys, max_size=8), slots=st.sets(st.integers(0, 12)))
def test_a_table_is_the_dictionary_of_its_changes(
    changes: list[dict[int, int]], asked: list[int], slots: set[int]
) -> None:
    table, twin = SlotTable(), {}
    for step in changes:
        before = table.keys.copy(), table.slots.copy()
        changed = table.with_changes(step)
        assert (table.keys == before[0]).all()
        assert (table.slots == before[1]).all()
        table = changed
        twin.update(step)
        twin = {key: slot for key, slot in twin.items() if slot != NO_SLOT}
    assert dict(zip(table.keys.tolist(), table.slots.tolist(), strict=True)) == twin
    assert len(table) == len(twin)
    assert table.keys.tolist() == sorted(twin)
    found = table.slots_of(np.array(asked, dtype=np.int64)).tolist()
    assert found == [twin.get(key, NO_SLOT) for key in asked]
    assert set(table.keys_of(BitMap(slots)).tolist()) == {key for key, slot in twin.items() if slot in slots}


@settings(deadline=None)
@given(pairs=st.dictionaries(keys, st.integers(0, 9)))
def test_a_table_is_made_at_once_as_by_changes(pairs: dict[int, int]) -> None:
    at_once, by_changes = SlotTable.of_pairs(pairs.items()), SlotTable().with_changes(pairs)
    assert at_once.keys.tolist() == by_changes.keys.tolist()
    assert at_once.slots.tolist() == by_changes.slots.tolist()
