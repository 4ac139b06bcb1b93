"""Growing lists in a pool against plain lists, and the memory of what readers may still hold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from state.lists import COUNT_BITS, COUNT_MASK, Lists, append, has_room, remove_at
from state.readers import Readers

LISTS = 5
steps = st.lists(st.tuples(st.integers(0, LISTS - 1), st.integers(0, 3), st.integers(0, 1_000)), max_size=200)


@settings(deadline=None, max_examples=60)
@given(steps=steps)
def test_lists_are_lists(steps: list[tuple[int, int, int]]) -> None:
    lists, twin = Lists(Readers(), lists=1, pool=4), [[] for _ in range(LISTS)]
    for number, kind, value in steps:
        if not has_room(lists.arrays, 1) or len(lists.arrays.extents) < LISTS:
            lists.make_room(lists=LISTS)
        if kind and twin[number] and value % 3 == 0:
            position = value % len(twin[number])
            twin[number].pop(position)
            remove_at(lists.arrays, number, position)
        else:
            twin[number].append(value)
            append(lists.arrays, number, value)
    assert [lists.get(number).tolist() for number in range(min(LISTS, len(lists.arrays.extents)))] == (
        twin if steps else [[]]
    )


@settings(deadline=None, max_examples=40)
@given(steps=steps, at=st.integers(0, 200))
def test_what_a_reader_found_stays_as_it_was_while_it_reads(
    steps: list[tuple[int, int, int]], at: int
) -> None:
    readers = Readers()
    lists, twin = Lists(readers, lists=LISTS, pool=8), [[] for _ in range(LISTS)]
    reading = readers.reading()
    held: list[tuple[int, int, list[int]]] = []
    for step, (number, kind, value) in enumerate(steps):
        lists.make_room(lists=LISTS)
        if step == at:
            reading.__enter__()
            view = lists.arrays
            held = [(int(view.extents[n]) >> COUNT_BITS, len(twin[n]), list(twin[n])) for n in range(LISTS)]
        if kind > 1 and twin[number]:
            position = value % len(twin[number])
            twin[number].pop(position)
            remove_at(lists.arrays, number, position)
        else:
            twin[number].append(value)
            append(lists.arrays, number, value)
        for offset, count, expected in held:
            assert view.pool[offset : offset + count].tolist() == expected
    if held:
        reading.__exit__(None, None, None)
    lists.make_room(lists=LISTS)
    assert [int(extent) & COUNT_MASK for extent in lists.arrays.extents] == [len(each) for each in twin]
