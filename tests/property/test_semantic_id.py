"""The three forms of a semantic id say the same, and their order is that of paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.semantic_id import LEVEL_SIZES, Leaf, SemanticId, parse_prefix

ids = st.tuples(*(st.integers(0, size - 1) for size in LEVEL_SIZES)).map(lambda path: SemanticId(*path))


@given(ids)
def test_every_form_leads_back_to_the_id(semantic_id: SemanticId):
    assert SemanticId.unpacked(semantic_id.packed()) == semantic_id
    assert SemanticId.parse(str(semantic_id)) == semantic_id
    assert Leaf.unpacked(semantic_id.leaf.packed()) == semantic_id.leaf == Leaf.parse(str(semantic_id.leaf))


@given(st.integers(0, 2**40 - 1))
def test_every_number_of_forty_bits_is_an_id(code: int):
    assert SemanticId.unpacked(code).packed() == code


@given(ids, ids)
def test_packed_ids_are_ordered_as_paths(left: SemanticId, right: SemanticId):
    assert (left.packed() < right.packed()) == (left < right)


@given(st.text(alphabet="0123456789.-٣ ") | st.text())
def test_a_prefix_is_read_back_or_refused(text: str):
    try:
        path = parse_prefix(text)
    except ValueError:
        return
    assert 1 <= len(path) <= len(LEVEL_SIZES)
    assert all(number < size for number, size in zip(path, LEVEL_SIZES, strict=False))
    assert parse_prefix(".".join(map(str, path))) == path
