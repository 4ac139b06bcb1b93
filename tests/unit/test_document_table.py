from __future__ import annotations

import math

import numpy as np

from state.document_table import MODALITIES, NO_ID, DocumentTable


def test_a_document_has_a_slot_and_the_slot_has_the_document() -> None:
    table = DocumentTable()
    slots = [table.put(name) for name in ("boots", "Stiefel", "長靴")]
    assert len(set(slots)) == 3
    assert [table.document_id(slot) for slot in slots] == ["boots", "Stiefel", "長靴"]
    assert [table.slot_of(name) for name in ("boots", "Stiefel", "長靴")] == slots
    assert ("boots" in table, "shoes" in table) == (True, False)
    assert (len(table), set(table.every())) == (3, set(slots))
    assert table.slot_of("shoes") is None


def test_a_document_put_again_keeps_its_slot_and_takes_the_new_numbers() -> None:
    table = DocumentTable()
    slot = table.put("boots", modality="image", ids={1: 7, 2: 8}, arrived_at=3.5, published_at=2.5)
    assert table.put("boots", modality="mixed", ids={2: 9}, arrived_at=4.5) == slot
    assert MODALITIES[table.modality[slot]] == "mixed"
    assert table.arrived_at[slot] == 4.5
    assert math.isnan(table.published_at[slot])
    assert table.ids_of(slot) == {2: 9}
    assert len(table) == 1


def test_a_removed_document_is_gone_and_its_slot_waits_until_it_is_released() -> None:
    table = DocumentTable()
    first = table.put("boots", ids={1: 7})
    assert table.remove("boots") == first
    assert table.remove("boots") is None
    assert (table.slot_of("boots"), table.document_id(first), list(table)) == (None, None, [])
    second = table.put("boots")
    assert second != first
    table.release([first])
    assert table.put("shoes", ids={2: 1}) == first
    assert table.ids_of(first) == {2: 1}
    assert table.capacity == 2


def test_ids_are_kept_by_epoch() -> None:
    table = DocumentTable()
    slots = [table.put(str(i), ids={1: i} if i % 2 else {}) for i in range(4)]
    assert table.ids(1)[slots].tolist() == [NO_ID, 1, NO_ID, 3]
    table.set_id(slots[0], epoch=2, packed=0)
    assert table.id_of(slots[0], epoch=2) == 0
    assert table.id_of(slots[1], epoch=2) is None
    table.forget_epoch(1)
    assert len(table.ids(1)) == 0
    assert table.ids_of(slots[1]) == {}


def test_growing_keeps_every_number_and_leaves_the_arrays_of_readers_alone() -> None:
    table = DocumentTable()
    before, ids = table.modality, table.ids(1)
    for i in range(5_000):
        table.put(f"document-{i}", modality="image", ids={1: i}, arrived_at=float(i))
    assert len(before) < 5_000
    assert len(ids) == 0
    slots = [table.slot_of(f"document-{i}") for i in range(5_000)]
    np.testing.assert_array_equal(table.ids(1)[slots], np.arange(5_000))
    np.testing.assert_array_equal(table.arrived_at[slots], np.arange(5_000.0))
    assert list(table) == [(slot, f"document-{i}") for i, slot in enumerate(slots)]


def test_a_walk_leaves_out_what_goes_away_meanwhile() -> None:
    table = DocumentTable()
    for name in "abc":
        table.put(name)
    walk = iter(table)
    assert next(walk)[1] == "a"
    table.remove("b")
    assert [name for _, name in walk] == ["c"]
