"""Which hits of two answers are the same, close, or others."""

from __future__ import annotations

from trieflow.compared_hits import Agreement, agree, compared
from trieflow.old_answers import Shown


def answer(**scores: float) -> list[Shown]:
    return [Shown(name, place, score) for place, (name, score) in enumerate(scores.items(), start=1)]


def agreements(
    then: list[Shown], now: list[Shown], *, words: float = 0.0, top_k: int = 3
) -> dict[str, Agreement]:
    given = {hit.document_id: words for hit in now}
    return {hit.document_id: hit.agreement for hit in compared(then, now, top_k=top_k, words=given)}


def test_the_same_is_the_same_up_to_the_order_of_sums() -> None:
    found = agreements(answer(a=3.0, b=2.0), answer(a=3.00001, b=2.0))
    assert found == {"a": "same", "b": "same"}


def test_without_words_nothing_is_close() -> None:
    assert agreements(answer(a=3.0, b=2.0), answer(a=3.01, b=2.0)) == {"a": "score", "b": "same"}
    assert agreements(answer(a=3.0, b=2.9), answer(b=2.91, a=2.9)) == {"a": "position", "b": "position"}


def test_equal_scores_may_change_places() -> None:
    assert agreements(answer(a=3.0, b=3.0), answer(b=3.0, a=3.0)) == {"a": "close", "b": "close"}


def test_word_scores_are_close_within_their_share_and_no_further() -> None:
    assert agreements(answer(a=3.0), answer(a=3.09), words=1.0) == {"a": "close"}
    assert agreements(answer(a=3.0), answer(a=3.11), words=1.0) == {"a": "score"}


def test_neighbours_by_words_may_change_places_but_none_that_lie_apart() -> None:
    near = agreements(answer(a=3.0, b=2.95, c=1.0), answer(b=3.0, a=2.95, c=1.0), words=1.0)
    assert near == {"a": "close", "b": "close", "c": "same"}
    apart = agreements(answer(a=3.0, b=2.0, c=1.0), answer(c=3.0, a=2.0, b=1.0), words=1.0)
    assert apart == {"a": "position", "b": "position", "c": "position"}


def test_the_last_hit_and_the_one_behind_it_may_change_places_by_words() -> None:
    then, now = answer(a=3.0, b=2.0, c=1.0), answer(a=3.0, b=2.0, d=1.02, c=0.99)
    assert agreements(then, now, words=1.0) == {"a": "same", "b": "same", "c": "close", "d": "close"}
    assert agreements(then, now) == {"a": "same", "b": "same", "c": "position", "d": "new"}


def test_what_is_behind_the_answer_is_not_new() -> None:
    assert "d" not in agreements(answer(a=3.0, b=2.0, c=1.0), answer(a=3.0, b=2.0, c=1.0, d=0.5))


def test_a_hit_that_is_not_found_again_is_absent() -> None:
    hits = compared(answer(a=3.0, b=2.0), answer(a=3.0), top_k=3, words={"a": 9.0})
    assert [(hit.agreement, hit.position_now, hit.score_now) for hit in hits] == [
        ("same", 1, 3.0),
        ("absent", None, None),
    ]
    assert not agree(hits)
