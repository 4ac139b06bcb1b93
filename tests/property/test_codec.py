"""Whatever comes, reading it ends in an event or in a DataError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import MAX_DEPTH, decode_body, decode_key, decode_version
from streams.dead_letters import dead_letter
from streams.errors import ERROR_CODES, DataError
from streams.events.base import Event
from streams.events.codebooks import Move
from streams.events.documents import Document
from streams.events.impressions import Feedback
from streams.events.queries import Query
from streams.headers import DELETED, STRUCTURED, TYPES, IncomingHeaders
from streams.records import Record

MODELS: list[tuple[str, type[Event]]] = [
    ("documents", Document),
    ("queries", Query),
    ("moves", Move),
    ("feedback", Feedback),
]
NAMES = [name for _, model in MODELS for name in model.model_fields]
NAMES += ["specversion", "type", "data", "data_base64", "url", "bytes", "stamp", "values", "weight"]

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=20,
)
bodies = st.binary() | json_values.map(orjson.dumps) | st.text(alphabet='[]{}",\\:a1').map(str.encode)
header_values = (
    st.none()
    | st.binary()
    | st.sampled_from([STRUCTURED.encode(), DELETED.encode(), *(kind.encode() for kind in TYPES.values())])
)
headers = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "ce_type", "version", "x-attempts"]) | st.text(), header_values
    ),
    max_size=4,
)


def refused(read: Callable[[], object]) -> DataError | None:
    try:
        read()
    except DataError as error:
        return error
    return None


@given(st.none() | st.binary() | st.text().map(str.encode), headers)
def test_a_key_is_text_or_refused_and_so_is_a_version(key: bytes | None, said: Any):
    error = refused(lambda: decode_key(key))
    assert error.code == "bad_key" if error else decode_key(key).encode() == key
    error = refused(lambda: decode_version(IncomingHeaders.of(said)))
    assert error is None or (error.code, error.field) == ("schema", "version")


@settings(max_examples=500)
@given(bodies, headers, st.sampled_from(MODELS))
def test_a_body_is_an_event_or_refused_by_a_code_and_kept_as_it_came(
    body: bytes, said: Any, kind: tuple[str, type[Event]]
):
    topic, model = kind
    incoming = IncomingHeaders.of(said)
    error = refused(lambda: decode_body(body, model=model, topic=topic, headers=incoming))
    if error is None:
        event = decode_body(body, model=model, topic=topic, headers=incoming)
        assert event is None or isinstance(event, model)
        return
    assert error.code in ERROR_CODES
    assert len(error.message) < 1_000
    record = Record(topic, 0, 1, b"key", body, [(name, value or b"") for name, value in said])
    assert dead_letter(record, error, stage="decode")[:2] == (b"key", body)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(
    st.recursive(st.text(alphabet='[]{}"\\a'), lambda inner: st.lists(inner, max_size=3)), st.integers(0, 40)
)
def test_a_body_is_too_deep_exactly_if_it_is(value: Any, more: int):
    for _ in range(more):
        value = [value]
    body = orjson.dumps({"title": "a", "x": value})
    error = refused(lambda: decode_body(body, model=Document, topic="documents", headers=IncomingHeaders()))
    assert (error is not None) == (depth_of({"x": value}) > MAX_DEPTH)
    assert error is None or error.code == "too_deep"


@given(
    st.builds(
        Document,
        title=st.text(min_size=1, max_size=9),
        tags=st.lists(st.text(min_size=1, max_size=5), max_size=3),
    )
)
def test_what_is_written_is_read_back(document: Document):
    read = decode_body(document.to_json(), model=Document, topic="documents", headers=IncomingHeaders())
    assert read == document
