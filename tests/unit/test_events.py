"""Events: what they take, what they refuse, and how they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from streams.events.assignments import CONTROL_PREFIX, Assignment, EpochComplete, EpochId, StampedVector
from streams.events.base import Event, LogPosition, SourceAddress
from streams.events.codebooks import Move
from streams.events.documents import (
    MAX_FIELD_LIST,
    MAX_FIELD_TEXT,
    Document,
    GivenVector,
    ImageSource,
    Receipt,
)
from streams.events.impressions import Feedback
from streams.events.queries import Hit, Query, QueryPart, Result

SOURCE = SourceAddress(topic="trieflow.documents", partition=0, offset=1)


def refused_field(model: type[Event], body: dict[str, Any]) -> str:
    """The path of the first field that is refused."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return ".".join(map(str, caught.value.errors()[0]["loc"]))


def test_absent_values_are_not_written_and_falsy_ones_are():
    written = orjson.loads(Receipt(document_id="", status="ignored", source=SOURCE, took_ms=0).to_json())
    assert written == {
        "document_id": "",
        "status": "ignored",
        "source": {"topic": "trieflow.documents", "partition": 0, "offset": 1},
        "took_ms": 0.0,
    }


def test_an_event_does_not_change_and_drops_what_it_does_not_know():
    position = LogPosition.model_validate({"partition": 1, "offset": 2, "of_tomorrow": 3})
    assert orjson.loads(position.to_json()) == {"partition": 1, "offset": 2}
    with pytest.raises(ValidationError):
        position.offset = 3


def test_a_number_that_json_does_not_know_is_refused():
    assert refused_field(GivenVector, {"stamp": "s", "values": [float("nan")]}) == "values.0"
    assert refused_field(QueryPart, {"text": "a", "weight": float("inf")}) == "weight"


@pytest.mark.parametrize("value", [True, "5", 5.5, [5]])
def test_a_whole_number_is_no_text_no_truth_and_no_fraction(value: object):
    assert refused_field(Document, {"title": "a", "version": value}) == "version"


def test_a_whole_number_may_be_written_with_a_point_as_json_allows():
    assert Query.model_validate({"text": "a", "top_k": 5.0}).top_k == 5


@pytest.mark.parametrize(("field", "value"), [("explain", "yes"), ("explain", 1), ("top_k", True)])
def test_a_query_takes_json_types_as_they_are(field: str, value: object):
    assert refused_field(Query, {"text": "a", field: value}) == field


@pytest.mark.parametrize(
    "written", ["2026-01-31T12:00:00Z", "2026-01-31T14:00:00+02:00", 1_769_860_800, 1_769_860_800_000]
)
def test_a_time_is_text_or_seconds_or_milliseconds(written: object):
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert Document.model_validate({"title": "a", "published_at": written}).published_at == moment


@pytest.mark.parametrize("body", [{}, {"url": None}, {"url": "https://shop.example/a.png", "bytes": "AA=="}])
def test_a_picture_has_one_source(body: dict[str, Any]):
    assert refused_field(ImageSource, body) == ""
    assert ImageSource.model_validate({"url": None, "bytes": "AA=="}).bytes == "AA=="


@pytest.mark.parametrize("body", [{}, {"data": "AA==", "values": [1.0]}])
def test_a_ready_vector_has_one_form(body: dict[str, Any]):
    assert refused_field(GivenVector, {"stamp": "s", **body}) == ""


@pytest.mark.parametrize(
    ("document", "empty"),
    [
        ({}, True),
        ({"title": " \t\n", "text": ""}, True),
        ({"tags": ["red"], "fields": {"price": 1}}, True),
        ({"title": "a"}, False),
        ({"text": "a"}, False),
        ({"images": [{"bytes": ""}]}, False),
        ({"vectors": [{"stamp": "s", "values": []}]}, False),
    ],
)
def test_a_document_is_empty_when_nothing_can_find_it(document: dict[str, Any], empty: bool):
    assert Document.model_validate(document).is_empty() is empty


def test_values_of_fields_keep_their_types():
    fields = {"yes": True, "one": 1, "half": 0.5, "text": "1", "list": [True, 1, 0.5, "1"]}
    kept = Document.model_validate({"title": "a", "fields": fields}).fields
    assert orjson.dumps(kept) == orjson.dumps(fields)


TOO_LONG = "x" * (MAX_FIELD_TEXT + 1)


@pytest.mark.parametrize(
    "value",
    [None, {}, [[1]], [None], TOO_LONG, [TOO_LONG], [1] * (MAX_FIELD_LIST + 1)],
    ids=["null", "object", "list in list", "null in list", "long text", "long text in list", "long list"],
)
def test_a_field_that_cannot_be_filtered_by_is_refused_by_one_message(value: object):
    with pytest.raises(ValidationError) as caught:
        Document.model_validate({"title": "a", "fields": {"note": value}})
    assert [error["loc"] for error in caught.value.errors()] == [("fields", "note")]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({"text": "red"}, [{"text": "red"}]),
        ({"image": {"bytes": "AA=="}, "text": "red"}, [{"text": "red"}, {"image": {"bytes": "AA=="}}]),
        ({"document_id": "boot-1"}, [{"document_id": "boot-1"}]),
        ({"parts": [{"text": "red"}], "text": "ignored"}, [{"text": "red"}]),
    ],
)
def test_the_shorthand_of_a_query_is_one_part_for_each_kind(
    body: dict[str, Any], parts: list[dict[str, Any]]
):
    assert Query.model_validate(body | {"top_k": 3}) == Query(
        parts=[QueryPart(**part) for part in parts], top_k=3
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "parts"),
        ({"parts": []}, "parts"),
        ({"parts": [{}]}, "parts.0"),
        ({"parts": [{"text": "a", "document_id": "b"}]}, "parts.0"),
        ({"parts": [{"text": "a", "weight": -1}, {"text": "b", "weight": 0}]}, ""),
        ({"parts": [{"text": "a", "role": "not"}]}, ""),
        ({"parts": [{"text": "a"}, {"text": "b", "role": "not", "weight": -0.5}]}, "parts.1"),
        ({"parts": [{"text": "a"}, {"text": "b", "role": "nor"}]}, "parts.1.role"),
        ({"browse": None}, "parts"),
        ({"browse": {}, "text": "a"}, "parts"),
        ({"browse": {"prefix": "3.999"}}, "browse.prefix"),
        ({"browse": {"depth": 4}}, "browse.depth"),
        ({"parts": [{"text": "a"}] * 17}, "parts"),
        ({"text": ""}, "parts.0.text"),
        ({"text": "a", "top_k": 1_001}, "top_k"),
        ({"text": "a", "mode": "psychic"}, "mode"),
        ({"text": "a", "read_after": [{"partition": 0, "offset": 2**63}]}, "read_after.0.offset"),
    ],
)
def test_a_query_that_asks_nothing_sensible_is_refused(body: dict[str, Any], field: str):
    assert refused_field(Query, body) == field


def test_a_result_is_an_answer_or_a_failure():
    error = {"code": "expired", "message": "too late"}
    assert refused_field(Result, {"query_id": "1"}) == ""
    assert refused_field(Result, {"query_id": "1", "hits": [], "error": error}) == ""
    assert Result.model_validate({"query_id": "1", "hits": []}).hits == []
    assert Result.model_validate({"query_id": "1", "branches": []}).branches == []
    assert refused_field(Result, {"query_id": "1", "hits": [], "branches": []}) == ""


def test_a_hit_without_an_id_in_this_epoch_is_read_as_it_was_written():
    hit = Hit(document_id="boot-1", semantic_id=None, score=1.0, position=1)
    assert Hit.model_validate_json(hit.to_json()) == hit


def test_a_vector_travels_as_little_endian_halves():
    vector = StampedVector.of("hash@1", "fused", np.array([1.0, -2.0], dtype=np.float64))
    assert vector.data == "ADwAwA=="  # 0x3C00, 0xC000
    assert vector.array().tolist() == [1.0, -2.0]
    assert StampedVector.model_validate_json(vector.to_json()) == vector


def test_an_assignment_tells_its_id_by_epoch():
    ids = [EpochId(epoch=1, semantic_id="3.17.402.8"), EpochId(epoch=2, semantic_id="4.1.1.1")]
    assignment = Assignment(ids=ids, modality="text", vectors=[], content_hash="0", source=SOURCE)
    assert [assignment.id_in(epoch) for epoch in (1, 2, 3)] == ["3.17.402.8", "4.1.1.1", None]


def test_control_records_have_keys_that_no_document_can_have():
    key = EpochComplete(epoch=2, partition=3, documents=9).key
    assert key == f"{CONTROL_PREFIX}epoch_complete/2/3"
    assert key.startswith("\x00")


def test_a_move_goes_to_a_leaf_that_can_be():
    move = {
        "document_id": "a",
        "from_id": "3.17.402.8",
        "to_leaf": "3.17.403",
        "epoch": 1,
        "codebook_offset": 9,
    }
    assert Move.model_validate(move).to_leaf == "3.17.403"
    assert refused_field(Move, move | {"to_leaf": "3.17.4096"}) == "to_leaf"


def test_feedback_takes_the_names_of_ubi_but_writes_its_own():
    given = {
        "query_id": "q",
        "object_id": "d",
        "action_name": "view",
        "client_id": "u",
        "timestamp": 1_769_860_800,
    }
    written = orjson.loads(Feedback.model_validate(given).to_json())
    assert written == {
        "query_id": "q",
        "document_id": "d",
        "action": "view",
        "user_id": "u",
        "at": "2026-01-31T12:00:00Z",
    }


def test_the_own_name_of_a_field_wins_over_its_alias():
    given = {"query_id": "q", "document_id": "d", "object_id": "other", "action": "click"}
    assert Feedback.model_validate(given).document_id == "d"
