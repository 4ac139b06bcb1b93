from __future__ import annotations

import numpy as np

from state.texts import NOT_FOUND, Texts


def filled(texts: dict[int, str]) -> Texts:
    made = Texts()
    for number, text in texts.items():
        made.put(number, text)
    return made


SOME = {0: "a", 7: "", 3: "é", 1_000: "\U0001f353" * 300, 4: "\ud800"}


def test_a_text_is_found_under_its_number_and_the_number_gives_the_text() -> None:
    texts = filled(SOME)
    assert {number: texts.text(number) for number in SOME} == SOME
    assert {texts.find(text): text for text in SOME.values()} == SOME
    assert len(texts) == len(SOME)


def test_what_is_not_there_is_not_found() -> None:
    texts = filled(SOME)
    assert texts.find("b") == NOT_FOUND
    assert [texts.text(number) for number in (-1, 1, 10**6)] == [None, None, None]


def test_a_dropped_text_is_gone_and_its_number_can_be_put_again() -> None:
    texts = filled(SOME)
    texts.drop(3)
    texts.drop(3)
    texts.drop(10**6)
    assert texts.find("é") == NOT_FOUND
    assert texts.text(3) is None
    texts.put(3, "e")
    texts.put(5, "é")
    assert (texts.find("e"), texts.find("é"), len(texts)) == (3, 5, len(SOME) + 1)


def test_texts_that_come_and_go_take_no_more_room() -> None:
    texts = Texts()
    for i in range(20_000):
        texts.put(i % 10, f"text-{i}")
        texts.drop(i % 10)
    texts.put(0, "last")
    sizes = [len(each) for each in (texts._arrays.pool, texts._arrays.index, texts._arrays.sizes)]
    assert texts.find("last") == 0
    assert max(sizes) < 10_000


def test_a_kept_copy_has_the_texts_under_their_new_numbers() -> None:
    kept = filled(SOME).kept(np.array([1_000, 3]), np.array([1, 2]))
    assert [kept.text(number) for number in range(4)] == [None, SOME[1_000], "é", None]
    assert (kept.find("é"), kept.find("a"), len(kept)) == (2, NOT_FOUND, 2)
    kept.put(3, "new")
    assert kept.find("new") == 3


def test_bounds_follow_the_order_of_code_points() -> None:
    words = sorted(["", "a", "ab", "b", "z", "é", "ÿ", "Ā", "￿", "\U00010000", "\U0001f353"])
    texts = filled(dict(enumerate(words)))
    for low in words:
        for high in words:
            accepted = texts.within(at_least=low, at_most=high, prefix=None)[: len(words)]
            assert accepted.tolist() == [low <= word <= high for word in words]
    assert not texts.within(at_least=None, at_most=None, prefix=None)[len(words) :].any()


def test_an_index_that_was_emptied_and_filled_again_still_ends_a_search_for_what_is_not_there() -> None:
    texts = Texts()
    texts.put(0, "gone")
    texts.drop(0)
    for number in range(100, 103):  # makes room while there is nothing
        texts.put(number, str(number))
        assert texts.find("not there") == NOT_FOUND
        assert texts.find(str(number)) == number
