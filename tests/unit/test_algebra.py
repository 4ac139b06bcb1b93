from __future__ import annotations

from typing import Any

import pytest

from streams.errors import DataError
from streams.events.queries import Query
from trieflow.algebra import parse, parse_all


def text(words: str, role: str | None = None) -> dict[str, Any]:
    return {"text": words} if role is None else {"text": words, "role": role}


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("red boots", [text("red boots")]),
        ("red car NOT truck", [text("red car"), text("truck", "not")]),
        ("red AND car", [text("red"), text("car")]),
        ('"red car" big wheels NOT', None),
        ('"red car" big wheels NOT van', [text("red car"), text("big wheels"), text("van", "not")]),
        ("fruit OR vehicle", [text("fruit", "or"), text("vehicle", "or")]),
        ("(red OR light blue) car", [text("red", "or"), text("light blue", "or"), text("car")]),
        ("car (red OR (blue OR green))", [text("car"), *(text(c, "or") for c in ("red", "blue", "green"))]),
        ("shoes NOT (leather OR suede)", [text("shoes"), text("leather", "not"), text("suede", "not")]),
        ("(a AND b) c NOT d", [text("a"), text("b"), text("c"), text("d", "not")]),
        ('like:"my boot.png" NOT like:b', [{"document_id": "my boot.png"}, {"document_id": "b", "role": "not"}]),
        ('"NOT" AND "like:this"', [text("NOT"), text("like:this")]),
        ("ORANGE NOT ANDROID", [text("ORANGE"), text("ANDROID", "not")]),
        ("NOT boots", [text("boots", "not")]),
    ],
)  # fmt: skip
def test_what_a_person_types_becomes_parts(typed: str, parts: list[dict[str, Any]] | None) -> None:
    if parts is None:
        with pytest.raises(DataError, match="words are missing at the end"):
            parse(typed)
    else:
        assert parse(typed) == {"parts": parts}


@pytest.mark.parametrize(
    "typed", ["shoes (red)", 'a "quoted" word', "black and white", "12:30", "nothing to like: here", "(", ""]
)
def test_a_text_without_operators_is_taken_as_it_is(typed: str) -> None:
    assert parse(typed.replace("like:", "like :")) == {"parts": [text(typed.replace("like:", "like :"))]}


@pytest.mark.parametrize(
    ("typed", "condition"),
    [
        ("boots category:3.17", {"id_prefix": "3.17"}),
        ("boots NOT category:3", {"not": [{"id_prefix": "3"}]}),
        ("boots (category:3 OR category:4.2)", {"or": [{"id_prefix": "3"}, {"id_prefix": "4.2"}]}),
        ("boots category:3 NOT category:3.17", {"and": [{"id_prefix": "3"}, {"not": [{"id_prefix": "3.17"}]}]}),
    ],
)  # fmt: skip
def test_a_prefix_of_an_id_is_a_filter(typed: str, condition: dict[str, Any]) -> None:
    assert parse(typed) == {"parts": [text("boots")], "filter": condition}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("OR boots", "words are missing before OR"),
        ("boots AND", "words are missing at the end"),
        ("(boots OR shoes", "opened and not closed"),
        ("boots OR shoes)", "closed that was not opened"),
        ('boots NOT "leather', "quote is opened"),
        ('boots NOT ""', "nothing between the quotes"),
        ("like: boots", "right behind like:"),
        ("boots OR shoes NOT leather", "put parentheses around"),
        ("red AND car OR van", "put parentheses around"),
        ("boots NOT (leather AND red)", "NOT leaves out one thing"),
        ("boots NOT NOT leather", "NOT leaves out one thing"),
        ("boots OR category:3", "OR cannot join"),
        ("(a OR b) (c OR d)", "one OR"),
        ("boots category:3.999", "too large"),
        ("boots category:x", "one to four numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_how_to_say_it(typed: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(typed)
    assert caught.value.code == "schema"
    assert message in caught.value.message


def test_several_texts_are_joined_by_and() -> None:
    assert parse_all(["red OR blue", "car category:3", "NOT category:4"]) == {
        "parts": [text("red", "or"), text("blue", "or"), text("car")],
        "filter": {"and": [{"id_prefix": "3"}, {"not": [{"id_prefix": "4"}]}]},
    }
    with pytest.raises(DataError, match="one OR"):
        parse_all(["red OR blue", "car OR van"])


def test_operators_may_be_texts_of_their_own() -> None:
    assert parse_all(["red car", "NOT", "truck"]) == parse("red car NOT truck")


@pytest.mark.parametrize("typed", ["red car NOT truck like:doc-1 category:3.17", "(a OR b) c NOT d"])
def test_what_is_parsed_is_a_query_of_the_contract(typed: str) -> None:
    assert Query.model_validate(parse(typed)).parts
