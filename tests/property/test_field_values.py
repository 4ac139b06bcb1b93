"""Columns of fields against a dictionary twin: adds, removes, slots used again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import field_texts, slot_column
from state.field_values import FieldTable
from state.value_test import ValueTest, class_of
from streams.events.documents import Scalar

Twin = dict[int, dict[str, Sequence[Scalar]]]

texts = st.sampled_from(["", "a", "ab", "abc", "b", "1", "é", "\U0001f353", "￿", "\ud800"])
close = [2**53, 2**53 + 1, 2**53 + 2, 2**62 + 1, 2**63 - 1, 2**63, 2**64 + 1, 10**400]
numbers = st.sampled_from([0, -0.0, 1, 1.0, 2.5, 1e300, 5e-324, *close, *(-each for each in close)])
scalars = st.one_of(texts, numbers, st.booleans())
names = st.sampled_from(["color", "size"])
# Slot 1,200 is beyond the share that keeps a column a dictionary.
slots = st.sampled_from([0, 1, 2, 3, 64, 65_536, 1_200])
fields = st.dictionaries(names, st.lists(scalars, max_size=4))
changes = st.lists(st.one_of(st.tuples(slots, fields), st.tuples(slots, st.none())), max_size=20)


def bounded(
    values: st.SearchStrategy[float] | st.SearchStrategy[str], kind: str
) -> st.SearchStrategy[ValueTest]:
    bound = st.one_of(st.none(), values)
    one_of = st.one_of(st.none(), st.lists(scalars, min_size=1, max_size=5).map(tuple))
    prefix = st.one_of(st.none(), texts) if kind == "text" else st.none()
    return st.builds(ValueTest, st.just(kind), one_of, at_least=bound, at_most=bound, prefix=prefix)


tests = st.one_of(
    bounded(texts, "text"),
    bounded(numbers, "number"),
    st.builds(ValueTest, one_of=st.lists(scalars, min_size=1, max_size=5).map(tuple)),
)


def meets(value: Scalar, test: ValueTest) -> bool:
    if test.one_of is None:
        return test.value_class is not None and test.accepts(value)
    return test.accepts(value) and any(class_of(w) == class_of(value) and w == value for w in test.one_of)


@pytest.fixture(params=["dictionaries", "arrays"])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As small columns are, and as large ones are."""
    if request.param == "arrays":
        monkeypatch.setattr(slot_column, "_FEW", -1)
        monkeypatch.setattr(slot_column, "_SPARSE_SHARE", 10**9)
        monkeypatch.setattr(field_texts, "_MANY_UNUSED", 1)


@pytest.mark.usefixtures("columns")
def test_columns_answer_as_the_values_of_each_slot_do() -> None:
    @settings(max_examples=150, deadline=None)
    @given(changes, st.sets(slots, max_size=2), st.lists(st.tuples(names, tests), max_size=6))
    def check(
        changes: list[tuple[int, dict[str, list[Scalar]] | None]],
        beside: set[int],
        asked: list[tuple[str, ValueTest]],
    ) -> None:
        table, twin = FieldTable(), Twin()
        for slot, given_fields in changes:
            twin.pop(slot, None)
            if given_fields is None:
                table.remove(slot)
            else:
                # Beside others, as a batch brings them.
                others = [other for other in beside if other != slot]
                table.put_all([slot, *others], [given_fields] * (1 + len(others)))
                twin |= dict.fromkeys([slot, *others], given_fields)
        for name, test in asked:
            values = table.get(name)
            held = {slot: of_slot[name] for slot, of_slot in twin.items() if of_slot.get(name)}
            assert (values is not None) == bool(held)
            expected = {slot for slot, found in held.items() if any(meets(each, test) for each in found)}
            assert set(values.matching(test) if values is not None else ()) == expected

    check()
