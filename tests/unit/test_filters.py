from __future__ import annotations

from datetime import UTC, datetime

import pytest

from state.filters import MAX_CONDITIONS, MAX_DEPTH, parse_filter
from state.live_index import LiveDocument, LiveIndex, Removal
from streams.errors import DataError
from streams.semantic_id import SemanticId

DOCUMENTS = [
    LiveDocument(
        "boots",
        {1: SemanticId(3, 17, 402, 8).packed(), 2: SemanticId(9, 0, 0, 0).packed()},
        [],
        "image",
        language="de",
        tags=["shoe", "winter"],
        fields={"color": "red", "price": 10, "sizes": [38, 39.5], "new": True, "sku": "X-12"},
        published_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    ),
    LiveDocument(
        "sandals",
        {1: SemanticId(3, 17, 402, 16).packed()},
        [],
        "mixed",
        language="en",
        tags=["shoe"],
        fields={"color": "blue", "price": 10.0, "sizes": [38, 50], "new": 1, "sku": "X-2"},
        published_at=datetime(2026, 2, 1),
    ),
    LiveDocument(
        "manual", {1: SemanticId(3, 2, 0, 0).packed()}, [], "text", fields={"color": "1", "sku": "Y-1"}
    ),
]


@pytest.fixture
def index() -> LiveIndex:
    index = LiveIndex(2)
    index.apply(DOCUMENTS)
    index.activate(1)
    return index


def passing(index: LiveIndex, raw: object) -> set[str]:
    found = [index.document_id(slot) for slot in index.passing(parse_filter(raw))]
    return {document_id for document_id in found if document_id is not None}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"color": "red"}, {"boots"}),
        ({"color": "green"}, set()),
        ({"nowhere": 1}, set()),
        ({"price": 10}, {"boots", "sandals"}),
        ({"new": True}, {"boots"}),
        ({"new": 1}, {"sandals"}),
        ({"color": 1}, set()),
        ({"color": "1"}, {"manual"}),
        ({"color": {"in": ["red", "1", "green", 7]}}, {"boots", "manual"}),
        ({"tags": "shoe"}, {"boots", "sandals"}),
        ({"tags": {"prefix": "win"}}, {"boots"}),
        ({"language": "en"}, {"sandals"}),
        ({"modality": {"in": ["text", "image"]}}, {"boots", "manual"}),
        ({"sku": {"prefix": "X-"}}, {"boots", "sandals"}),
        ({"sku": {"prefix": "X-", "gte": "X-2"}}, {"sandals"}),
        ({"sku": {"prefix": "X", "gte": "Y"}}, set()),
        ({"sku": {"in": ["X-12", "Y-1"], "prefix": "X"}}, {"boots"}),
        ({"sku": {"prefix": ""}}, {"boots", "sandals", "manual"}),
        ({"price": {"gte": 9.5, "lte": 10}}, {"boots", "sandals"}),
        ({"price": {"gte": 10.5}}, set()),
        ({"sizes": {"gte": 39, "lte": 40}}, {"boots"}),
        ({"sizes": 50}, {"sandals"}),
        ({"published_at": {"gte": "2026-02-01"}}, {"sandals"}),
        ({"published_at": {"lte": "2026-01-31T13:00:00+01:00"}}, {"boots"}),
        ({"published_at": "2026-01-31T12:00:00Z"}, {"boots"}),
        ({"published_at": {"in": ["2026-02-01T00:00:00Z"]}}, {"sandals"}),
        ({"and": [{"tags": "shoe"}, {"color": "blue"}]}, {"sandals"}),
        ({"or": [{"color": "blue"}, {"color": "1"}]}, {"sandals", "manual"}),
        ({"not": [{"color": "blue"}, {"color": "1"}]}, {"boots"}),
        ({"not": [{"nowhere": "x"}]}, {"boots", "sandals", "manual"}),
        ({"id_prefix": "3"}, {"boots", "sandals", "manual"}),
        ({"id_prefix": "3.17"}, {"boots", "sandals"}),
        ({"id_prefix": "3.17.402.16"}, {"sandals"}),
        ({"id_prefix": "9"}, set()),
    ],
)
def test_a_filter_passes(index: LiveIndex, raw: object, expected: set[str]) -> None:
    assert passing(index, raw) == expected


def test_an_id_prefix_means_the_active_epoch(index: LiveIndex) -> None:
    index.activate(2)
    assert passing(index, {"id_prefix": "9.0"}) == {"boots"}
    index.active_epoch = None
    assert passing(index, {"id_prefix": "9.0"}) == set()


def test_a_removed_document_passes_no_filter(index: LiveIndex) -> None:
    index.apply([Removal("boots")])
    for raw in (
        {"color": "red"},
        {"not": [{"color": "blue"}]},
        {"id_prefix": "3.17"},
        {"sku": {"prefix": "X-1"}},
    ):
        assert "boots" not in passing(index, raw)


def test_changing_an_answer_changes_no_bitmap(index: LiveIndex) -> None:
    for raw in (
        {"color": "red"},
        {"and": [{"color": "red"}]},
        {"or": [{"color": "red"}]},
        {"id_prefix": "3"},
    ):
        index.passing(parse_filter(raw)).add(1_000)
        assert 1_000 not in index.passing(parse_filter(raw))
    index.passing(parse_filter({"not": [{"color": "red"}]})).clear()
    assert len(index.every()) == 3


def nested(depth: int) -> object:
    raw: object = {"a": 1}
    for _ in range(depth - 1):
        raw = {"and": [raw]}
    return raw


@pytest.mark.parametrize(
    ("raw", "field", "message"),
    [
        (None, "filter", "object with one name"),
        ([], "filter", "object with one name"),
        ({}, "filter", "object with one name"),
        ({"a": 1, "b": 2}, "filter", 'join several by "and"'),
        ({"and": []}, "filter.and", "one or more conditions"),
        ({"or": {"a": 1}}, "filter.or", "one or more conditions"),
        ({"not": "x"}, "filter.not", "one or more conditions"),
        ({"and": [{"a": 1}, 7]}, "filter.and.1", "object with one name"),
        ({"a": None}, "filter.a", "NoneType cannot be compared"),
        ({"a": [1, 2]}, "filter.a", '{"in": [...]}'),
        ({"a": {}}, "filter.a", "an operator is missing"),
        ({"a": {"gt": 1}}, "filter.a", "'gt' is no operator; use in, gte, lte, prefix"),
        ({"a": {"in": "x"}}, "filter.a.in", "one or more values"),
        ({"a": {"in": []}}, "filter.a.in", "one or more values"),
        ({"a": {"in": [{"b": 1}]}}, "filter.a.in.0", "dict cannot be compared"),
        ({"a": {"gte": True}}, "filter.a", "no order"),
        ({"a": {"gte": 1, "lte": "2"}}, "filter.a", "of one kind"),
        ({"a": {"prefix": 3}}, "filter.a.prefix", "works on texts"),
        ({"published_at": {"prefix": "2026"}}, "filter.published_at.prefix", "for dates"),
        ({"published_at": {"gte": "yesterday"}}, "filter.published_at.gte", "ISO date"),
        ({"published_at": 7}, "filter.published_at", "ISO date"),
        ({"published_at": {"lte": True}}, "filter.published_at.lte", "ISO date"),
        ({"id_prefix": 3}, "filter.id_prefix", "is a text"),
        ({"id_prefix": "3.999"}, "filter.id_prefix", "too large"),
        ({"id_prefix": ""}, "filter.id_prefix", "one to four numbers"),
        (nested(MAX_DEPTH + 1), "filter" + ".and.0" * MAX_DEPTH, "nested deeper"),
        ({"a": {"in": [1] * MAX_CONDITIONS}}, "filter.a.in", f"more than {MAX_CONDITIONS}"),
        (
            {"or": [{"a": 1}] * MAX_CONDITIONS},
            f"filter.or.{MAX_CONDITIONS - 1}",
            f"more than {MAX_CONDITIONS}",
        ),
    ],
)
def test_a_bad_filter_is_refused_with_its_place_and_how_to_mend_it(
    raw: object, field: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        parse_filter(raw)
    assert caught.value.code == "bad_filter"
    assert caught.value.field == field
    assert message in caught.value.message


def test_the_deepest_filter_that_is_allowed_is_answered(index: LiveIndex) -> None:
    assert passing(index, nested(MAX_DEPTH)) == set()
