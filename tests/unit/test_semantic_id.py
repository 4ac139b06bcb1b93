"""Semantic ids: text, numbers, order."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from streams.semantic_id import (
    LEVEL_SIZES,
    Leaf,
    LeafText,
    SemanticId,
    SemanticIdText,
    parse_prefix,
)

LAST = SemanticId(*(size - 1 for size in LEVEL_SIZES))


def test_an_id_is_forty_bits_of_which_the_leaf_is_the_first_twenty_four():
    assert LEVEL_SIZES == (16, 256, 4_096, 65_536)
    assert LAST.packed() == 2**40 - 1
    assert LAST.leaf.packed() == 2**24 - 1
    assert SemanticId(1, 0, 0, 0).packed() == 2**36
    assert SemanticId(0, 1, 0, 0).packed() == 2**28
    assert SemanticId(0, 0, 1, 0).packed() == 2**16


def test_text_and_numbers_are_one_to_one():
    semantic_id = SemanticId.parse("3.17.402.8")
    assert str(semantic_id) == "3.17.402.8"
    assert semantic_id == SemanticId.of(Leaf(3, 17, 402), 8)
    assert str(semantic_id.leaf) == "3.17.402"


@pytest.mark.parametrize(
    "text",
    ["", "3", "3.17.402", "3.17.402.8.1", "3..402.8", "a.b.c.d", "3.17.402.-8", "3.17.402.٨", " 3.17.402.8"],
)
def test_what_is_no_id_is_refused(text: str):
    with pytest.raises(ValueError, match="id"):
        SemanticId.parse(text)


@pytest.mark.parametrize("text", ["16.0.0.0", "0.256.0.0", "0.0.4096.0", "0.0.0.65536"])
def test_a_number_that_would_run_into_its_neighbour_is_refused(text: str):
    with pytest.raises(ValueError, match="too large"):
        SemanticId.parse(text)


def test_a_leaf_has_three_numbers():
    assert Leaf.parse("15.255.4095") == LAST.leaf
    with pytest.raises(ValueError, match="three numbers"):
        Leaf.parse("3.17")


@pytest.mark.parametrize(
    ("text", "path"), [("3", (3,)), ("3.17", (3, 17)), ("15.255.4095.65535", tuple(LAST))]
)
def test_a_prefix_has_one_to_four_numbers(text: str, path: tuple[int, ...]):
    assert parse_prefix(text) == path


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (SemanticIdText, "3.17.402"),
        (SemanticIdText, "٣.17.402.8"),
        (SemanticIdText, "3.17.402.8\n"),
        (LeafText, "3.17.402.8"),
        (LeafText, "3.17.4096"),
    ],
)
def test_events_take_no_other_text(kind: object, text: str):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)
