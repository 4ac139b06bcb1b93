from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable

import numpy as np
import pytest

from state.field_values import FieldTable, FieldValues
from state.value_test import ValueTest


def of(table: FieldTable, name: str) -> FieldValues:
    values = table.get(name)
    assert values is not None
    return values


def equal(*values: bool | float | str) -> ValueTest:
    return ValueTest(one_of=values)


@pytest.mark.parametrize("distinct", [255, 256, 257, 65_535, 65_536, 65_537])
def test_texts_keep_apart_however_many_there_are(distinct: int) -> None:
    table = FieldTable()
    for slot in range(distinct):
        table.put(slot, {"sku": [f"X-{slot}"]})
    for slot in (0, 254, 255, 256, 257, 65_535, distinct - 1):
        assert set(of(table, "sku").matching(equal(f"X-{slot}"))) == ({slot} if slot < distinct else set())


def test_a_slot_added_again_has_its_new_values_alone() -> None:
    table = FieldTable()
    table.put(3, {"color": ["red"], "size": [1], "tags": []})
    table.put(3, {"color": ["blue", True]})
    assert set(of(table, "color").matching(equal("red"))) == set()
    assert set(of(table, "color").matching(equal("blue"))) == {3}
    assert table.get("size") is None
    assert table.get("tags") is None
    table.remove(3)
    table.remove(3)
    assert table.get("color") is None


def test_columns_are_right_while_they_turn_from_few_to_many_and_back() -> None:
    table = FieldTable()
    held = {slot: float(slot % 5) for slot in range(0, 3_000, 3)}
    for slot, size in held.items():
        table.put(slot, {"size": [size], "color": [f"c{size:.0f}"]})
        if slot % 300 == 0:
            expected = {s for s in held if s <= slot and held[s] >= 3}
            at_least = ValueTest(value_class="number", at_least=3)
            assert set(of(table, "size").matching(at_least)) == expected
            assert set(of(table, "color").matching(equal("c3", "c4"))) == expected
    for slot in list(held)[1:]:
        table.remove(slot)
    assert set(of(table, "size").matching(equal(0))) == {0}


def test_texts_that_are_not_used_any_more_are_forgotten() -> None:
    table = FieldTable()
    for i in range(20_000):
        table.put(i % 100, {"sku": [f"X-{i}"], "always": ["same"]})
    texts = of(table, "sku")._texts._coded.texts
    assert len(texts) < 3_000
    assert set(of(table, "sku").matching(equal("X-19950"))) == {50}
    assert set(of(table, "sku").matching(equal("X-19850"))) == set()
    assert len(of(table, "sku").matching(ValueTest(value_class="text", prefix="X-"))) == 100


def test_a_field_of_few_documents_takes_no_column() -> None:
    table = FieldTable()
    table.put(10**6, {"rare": [1.5, "x"]})
    assert set(of(table, "rare").matching(equal("x"))) == {10**6}
    assert isinstance(of(table, "rare")._numbers._floats._layers[0]._values, dict)


SLOTS = 2_000


def values_of(slot: int) -> dict[str, list[bool | float | str]]:
    """A slot always gets the same values, so that a reader can tell what never belonged to it."""
    shared = [f"group-{slot % 7}", f"member-{slot % 11}"]
    rare = [slot % 3] if slot % 10 == 1 else []
    sizes = [slot % 13, slot + 0.5]
    return {"group": shared, "sku": [f"X-{slot}"], "size": sizes, "new": [slot % 2 == 0], "rare": rare}


QUESTIONS: list[tuple[str, ValueTest, Callable[[int], bool]]] = [
    ("group", equal("group-3"), lambda slot: slot % 7 == 3),
    ("group", equal("group-3", "member-4"), lambda slot: slot % 7 == 3 or slot % 11 == 4),
    ("group", ValueTest(value_class="text", prefix="member-1"), lambda slot: slot % 11 in (1, 10)),
    ("sku", equal("X-77"), lambda slot: slot == 77),
    ("sku", ValueTest(value_class="text", prefix="X-19"), lambda slot: str(slot).startswith("19")),
    ("size", ValueTest(value_class="number", at_least=11.5), lambda slot: slot % 13 == 12 or slot >= 11),
    ("size", ValueTest(value_class="number", at_least=100.5, at_most=101.5), lambda slot: slot in (100, 101)),
    ("rare", equal(1), lambda slot: slot % 10 == 1 and slot % 3 == 1),
    ("new", equal(True), lambda slot: slot % 2 == 0),
]


def test_readers_beside_a_writer_never_get_a_slot_for_a_value_that_it_never_had() -> None:
    table, steady = FieldTable(), {11, *range(0, SLOTS, 5)}
    for slot in steady:
        table.put(slot, values_of(slot))
    stop, faults = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            for name, test, belongs in QUESTIONS:
                found = set(of(table, name).matching(test))
                wrong = {slot for slot in found if not belongs(slot)}
                missed = {slot for slot in steady - found if belongs(slot)}
                if wrong or missed:
                    faults.append((name, test, wrong, missed))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    source = random.Random(5)
    for i in range(20_000):
        slot = source.randrange(SLOTS)
        if slot in steady:
            # A new dictionary entry each time, so that the dictionary is written anew again and again.
            table.put(SLOTS, {"sku": [f"new-{i}"]})
        elif source.random() < 0.5:
            table.put(slot, values_of(slot))
        else:
            table.remove(slot)
    stop.set()
    for reader in readers:
        reader.join()
    assert faults == []


def test_the_first_number_of_each_slot_while_columns_turn_from_few_to_many() -> None:
    table, known = FieldTable(), dict[int, float]()
    chance = random.Random(5)
    for slot in chance.sample(range(900), 700):
        value: list[bool | float | str] = chance.choice(
            [[slot / 2], [slot, -1], ["x", slot], [True], [2**80 + 1], []]
        )
        table.put(slot, {"f": value})
        known[slot] = next(
            (float(v) for v in value if not isinstance(v, bool | str) and float(v) == v), math.nan
        )
        if len(known) in (3, 300, 700):
            found = of(table, "f").numbers(np.arange(1_000))
            np.testing.assert_array_equal(found, [known.get(each, math.nan) for each in range(1_000)])
