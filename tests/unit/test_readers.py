from __future__ import annotations

from state.readers import Readers, Retired


def test_without_readers_all_is_free_at_once() -> None:
    retired: Retired[str] = Retired(Readers())
    retired.add("a")
    assert retired.free() == ["a"]
    assert retired.free() == []


def test_what_was_taken_out_while_somebody_reads_waits_for_them() -> None:
    readers = Readers()
    retired: Retired[str] = Retired(readers)
    with readers.reading():
        retired.add("a")
        assert retired.free() == []
    assert retired.free() == ["a"]


def test_a_reader_who_came_later_holds_up_nothing() -> None:
    readers = Readers()
    retired: Retired[str] = Retired(readers)
    with readers.reading():
        retired.add("old")
    with readers.reading():
        assert retired.free() == ["old"]
        retired.add("new")
        assert retired.free() == []
        assert len(retired) == 1


def test_the_oldest_of_several_readers_counts() -> None:
    readers = Readers()
    retired: Retired[int] = Retired(readers)
    first = readers.reading()
    first.__enter__()
    retired.add(1)
    with readers.reading():
        retired.add(2)
        first.__exit__(None, None, None)
        assert retired.free() == [1]
    assert retired.free() == [2]
