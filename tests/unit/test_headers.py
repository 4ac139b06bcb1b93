"""Headers: what is read from them, what is passed on, and what an outgoing event carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streams.headers import (
    ACCEPTED_TYPES,
    DELETED,
    PASSED_ON_LIMIT,
    TYPES,
    IncomingHeaders,
    cloud_event,
    derived_id,
)


def test_names_know_no_case_and_the_first_of_equal_names_counts():
    headers = IncomingHeaders.of([("Reply-To", b"a"), ("reply-to", b"b")])
    assert headers.text("reply-to") == "a"


def test_a_header_without_a_value_is_none_and_does_not_hide_a_later_one():
    headers = IncomingHeaders.of([("ce_type", None), ("ce_type", b""), ("ce_type", "x")])
    assert headers.event_type == "x"
    assert IncomingHeaders.of(None).event_type is None


def test_a_mapping_is_read_like_a_list():
    assert IncomingHeaders.of({"CE_TYPE": b"x"}) == IncomingHeaders.of([("ce_type", "x")])


def test_bytes_that_are_no_text_are_replaced():
    assert IncomingHeaders.of([("correlation-id", b"a\xff")]).text("correlation-id") == "a\ufffd"


@pytest.mark.parametrize(
    ("content_type", "structured"),
    [
        ("application/cloudevents+json", True),
        ("Application/CloudEvents+JSON ; charset=utf-8", True),
        ("application/cloudevents-batch+json", False),
        ("application/json", False),
        (None, False),
    ],
)
def test_structured_mode_is_told_by_the_content_type(content_type: str | None, structured: bool):
    assert IncomingHeaders.of([("content-type", content_type)]).is_structured is structured


def test_trace_and_correlation_are_passed_on_as_they_came_and_nothing_else():
    headers = IncomingHeaders.of(
        [
            ("ce_id", b"1"),
            ("correlation-id", b"\xff\x00"),
            ("TraceParent", b"00-4b"),
            ("reply-to", b"results"),
        ]
    )
    assert headers.passed_on() == [("traceparent", b"00-4b"), ("correlation-id", b"\xff\x00")]


def test_a_header_too_long_to_repeat_stays_behind():
    kept, left = b"a" * PASSED_ON_LIMIT, b"a" * (PASSED_ON_LIMIT + 1)
    assert IncomingHeaders.of([("traceparent", kept), ("tracestate", left)]).passed_on() == [
        ("traceparent", kept)
    ]


def test_a_derived_id_is_the_same_forever():
    # Consumers drop what they have seen by this id: a change of the scheme would repeat every event to them.
    made = derived_id(topic="trieflow.documents", partition=3, offset=941, operation="receipt")
    assert made == "e71468b3-97c6-58b1-9c58-de55a851a5bb"


def test_ids_of_different_events_differ():
    places = [
        ("a", 1, 12, "receipt"),
        ("a", 11, 2, "receipt"),
        ("a", 1, 12, "result"),
        ("b", 1, 12, "receipt"),
    ]
    made = {derived_id(topic=t, partition=p, offset=o, operation=n) for t, p, o, n in places}
    assert len(made) == len(places)


def test_an_outgoing_event_has_all_attributes_once_and_the_time_of_now():
    extra = [("correlation-id", b"c")]
    headers = cloud_event(event_type="trieflow.x.v1", source="trieflow/indexer", event_id="7", extra=extra)
    said = dict(headers)
    assert len(said) == len(headers)
    made = datetime.fromisoformat(said.pop("ce_time").decode())
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=1)
    assert said == {
        "ce_specversion": b"1.0",
        "ce_id": b"7",
        "ce_source": b"trieflow/indexer",
        "ce_type": b"trieflow.x.v1",
        "content-type": b"application/json",
        "correlation-id": b"c",
    }


def test_events_without_an_id_get_one_of_their_own():
    made = [dict(cloud_event(event_type="x", source="y"))["ce_id"] for _ in range(2)]
    assert made[0] != made[1]


def test_only_documents_and_their_log_know_deletes():
    assert {name for name, kinds in ACCEPTED_TYPES.items() if DELETED in kinds} == {
        "documents",
        "assignments",
    }
    assert len(set(TYPES.values())) == len(TYPES)
