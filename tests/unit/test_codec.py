"""Bytes to events: every refusal has its code, and names the field at fault."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from streams.codec import MAX_DEPTH, MAX_KEY, MAX_MESSAGE, decode_body, decode_key, decode_version
from streams.errors import DataError
from streams.events.documents import Document
from streams.events.queries import Query
from streams.headers import DELETED, STRUCTURED, TYPES, IncomingHeaders

PUBLISHED = TYPES["documents"]
NO_HEADERS = IncomingHeaders()
AS_EVENT = IncomingHeaders.of([("content-type", STRUCTURED)])


def document(value: bytes, headers: IncomingHeaders = NO_HEADERS, **limits: int) -> Document | None:
    return decode_body(value, model=Document, topic="documents", headers=headers, **limits)


def event(**attributes: Any) -> bytes:
    return orjson.dumps({"specversion": "1.0", "type": PUBLISHED, "id": "1", "source": "/shop", **attributes})


def refusal(value: bytes, headers: IncomingHeaders = NO_HEADERS, **limits: int) -> tuple[str, str | None]:
    with pytest.raises(DataError) as caught:
        document(value, headers, **limits)
    return caught.value.code, caught.value.field


@pytest.mark.parametrize("key", [b"boot-1", "größe".encode(), b" ", b"a\x00b", b"k" * MAX_KEY])
def test_a_key_is_its_text(key: bytes):
    assert decode_key(key).encode() == key


@pytest.mark.parametrize(
    "key", [None, b"", b"\xff", b"\x00epoch_complete/1/0", b"k" * (MAX_KEY + 1), "é".encode("latin-1")]
)
def test_a_key_that_cannot_be_an_id_is_refused(key: bytes | None):
    with pytest.raises(DataError) as caught:
        decode_key(key)
    assert caught.value.code == "bad_key"


def test_a_plain_body_needs_no_header_and_may_hold_unknown_fields():
    assert document(b'{"title": "red boots", "colour_of_tomorrow": 1}') == Document(title="red boots")


@pytest.mark.parametrize(
    "value", [b"", b"{", b"nonsense", b"\x80", b'{"title": "\\ud800"}', b'{"title": "a"} {}']
)
def test_what_is_no_json_is_refused(value: bytes):
    assert refusal(value) == ("not_json", None)


@pytest.mark.parametrize("value", [b"null", b"1", b'"title"', b"[]"])
def test_a_body_that_is_no_object_is_refused_and_never_taken_for_a_delete(value: bytes):
    assert refusal(value) == ("schema", None)


def test_the_first_fault_is_told_by_its_path_and_the_others_are_counted():
    body = {"title": 1, "images": [{"url": "https://shop.example/a.png"}, {"url": 2}], "tags": "red"}
    with pytest.raises(DataError, match=r"\(and 2 more\)") as caught:
        document(orjson.dumps(body))
    assert (caught.value.code, caught.value.field) == ("schema", "title")
    assert refusal(orjson.dumps({"images": body["images"]})) == ("schema", "images.1.url")


@pytest.mark.parametrize("word", ["video", "audio", "videos", "audios"])
def test_a_modality_that_is_not_supported_is_named(word: str):
    assert refusal(orjson.dumps({"title": "a", word: None})) == ("unsupported_modality", word)


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not():
    value = b'{"title": "a"}'
    assert document(value, limit=len(value)) is not None
    assert refusal(value, limit=len(value) - 1) == ("too_large", None)
    assert refusal(b" " * (MAX_MESSAGE + 1)) == ("too_large", None)


def nested(depth: int) -> bytes:
    """A body of that many levels, the object itself counted."""
    return b'{"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b',"title":"a"}'


def test_the_deepest_body_is_read_and_a_deeper_one_is_not():
    assert document(nested(MAX_DEPTH)) is not None
    assert refusal(nested(MAX_DEPTH + 1)) == ("too_deep", None)


@pytest.mark.parametrize("text", ["[{" * 100, '\\" [' * 100, "\\\\", '"' * 7 + "[" * 100])
def test_brackets_in_texts_are_no_depth(text: str):
    value = orjson.dumps({"title": text, "tags": ["a"] * 3})
    assert document(value) == Document(title=text, tags=["a"] * 3)


def test_many_objects_side_by_side_are_not_deep():
    assert document(orjson.dumps({"title": "a", "x": [{} for _ in range(1_000)]})) is not None


def test_a_structured_event_is_unwrapped_whatever_its_charset_says():
    headers = IncomingHeaders.of([("Content-Type", "Application/CloudEvents+JSON; charset=utf-8")])
    assert document(event(data={"title": "a"}), headers) == Document(title="a")


def test_a_structured_event_may_carry_its_data_in_base64():
    data = base64.b64encode(b'{"title": "a"}').decode()
    assert document(event(data_base64=data), AS_EVENT) == Document(title="a")


@pytest.mark.parametrize(
    "attributes", [{"data": None}, {"type": DELETED}, {"type": DELETED, "data": {"title": "a"}}]
)
def test_a_structured_event_deletes_by_null_or_by_its_type(attributes: dict[str, Any]):
    assert document(event(**attributes), AS_EVENT) is None


FAULTY_EVENTS: Mapping[str, tuple[bytes, tuple[str, str | None]]] = {
    "no object": (b"[]", ("schema", "type")),
    "no type": (b'{"specversion": "1.0", "data": {}}', ("schema", "type")),
    "a type that is no text": (event(type=1, data={}), ("schema", "type")),
    "another version": (event(specversion="0.3", data={}), ("schema", "specversion")),
    "forgotten data": (event(), ("schema", "data")),
    "wrong base64": (event(data_base64="a"), ("schema", "data_base64")),
    "base64 that is no text": (event(data_base64=1), ("schema", "data")),
    "base64 of no JSON": (event(data_base64="AAAA"), ("not_json", None)),
    "base64 of something deep": (event(data_base64=base64.b64encode(nested(33)).decode()), ("too_deep", None)),
    "the type of another topic": (event(type=TYPES["queries"], data={}), ("unknown_type", None)),
    "data that is no object": (event(data="title"), ("schema", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY_EVENTS)
def test_a_faulty_structured_event_is_refused(name: str):
    value, expected = FAULTY_EVENTS[name]
    assert refusal(value, AS_EVENT) == expected


def test_a_binary_event_must_be_of_a_type_of_its_topic():
    assert document(b'{"title": "a"}', IncomingHeaders.of([("ce_type", PUBLISHED)])) is not None
    other = IncomingHeaders.of([("ce_type", "shop.sold.v1")])
    assert refusal(b'{"title": "a"}', other) == ("unknown_type", None)
    with pytest.raises(DataError, match="unknown_type"):
        decode_body(
            b'{"text": "a"}', model=Query, topic="queries", headers=IncomingHeaders.of([("ce_type", DELETED)])
        )


@pytest.mark.parametrize(
    ("text", "version"), [(None, None), ("0", 0), ("007", 7), (str(2**63 - 1), 2**63 - 1)]
)
def test_the_version_of_a_delete_comes_from_a_header(text: str | None, version: int | None):
    assert decode_version(IncomingHeaders.of([("version", text)])) == version


@pytest.mark.parametrize("text", ["-1", "1.0", "one", " 1", "٣", str(2**63), "9" * 5_000])
def test_a_version_that_is_no_whole_number_is_refused(text: str):
    with pytest.raises(DataError) as caught:
        decode_version(IncomingHeaders.of([("version", text)]))
    assert (caught.value.code, caught.value.field) == ("schema", "version")
