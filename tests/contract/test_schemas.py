"""The kept contract is the generated one, is valid by the standards it names, and says what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from referencing import Registry, Resource

from streams.events.base import Event
from streams.events.documents import Document
from streams.events.impressions import Feedback
from streams.events.queries import Query, Result
from streams.headers import TYPES
from streams.schemas.event_schemas import CLOUD_EVENT, EVENT_FILES
from streams.schemas.examples import EXAMPLES
from streams.schemas.files import schema_files, write_schemas
from streams.settings import Settings
from streams.topics import topic_specs

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
SCHEMAS: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json") if path.stem != "asyncapi"
}
ASYNCAPI: dict[str, Any] = json.loads((FOLDER / "asyncapi.json").read_text())
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name], registry=REGISTRY)


def refuses(name: str, body: object) -> bool:
    return not validator(name).is_valid(body)


# -- the files ---------------------------------------------------------------------------------------------


def test_the_kept_files_are_the_generated_ones():
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    changed = sorted(name for name in kept | schema_files() if kept.get(name) != schema_files().get(name))
    assert not changed, f"the contract has changed: run `make schemas` and look at the diff of {changed}"


def test_writing_replaces_what_changed_and_deletes_what_is_gone(tmp_path: Path):
    (tmp_path / "gone.json").write_text("{}")
    (tmp_path / "query.json").write_text("old")
    write_schemas(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == schema_files()


def test_every_event_has_a_schema():
    covered = {file.model for file in EVENT_FILES}
    assert set(_models()) == covered | _parts()


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_by_its_own_standard(name: str):
    Draft202012Validator.check_schema(SCHEMAS[name])
    for reference in _references(SCHEMAS[name]):
        REGISTRY.resolver(SCHEMAS[name]["$id"]).lookup(reference)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_field_of_a_schema_is_described(name: str):
    missing = [where for where, field in _fields(SCHEMAS[name]) if not field.get("description")]
    assert not missing


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_examples_of_a_schema_are_valid(name: str):
    assert SCHEMAS[name]["examples"]
    for example in SCHEMAS[name]["examples"]:
        validator(name).validate(example)


@pytest.mark.parametrize("model", EXAMPLES, ids=lambda model: model.__name__)
def test_the_examples_are_read_and_written_without_loss(model: type[Event]):
    for example in EXAMPLES[model]:
        event = model.model_validate(example)
        assert event == model.model_validate_json(event.to_json())
        assert event.model_dump(exclude_unset=True)


# -- the AsyncAPI document ---------------------------------------------------------------------------------


def test_every_topic_is_a_channel_as_it_is_created():
    defaults = Settings.model_construct()
    channels = {channel["address"]: channel for channel in ASYNCAPI["channels"].values()}
    assert set(channels) - {None} == {spec.name for spec in topic_specs(defaults)}
    for spec in topic_specs(defaults):
        binding = channels[spec.name]["bindings"]["kafka"]
        assert binding["partitions"] == spec.partitions
        configuration = dict(binding["topicConfiguration"])
        assert configuration.pop("cleanup.policy") == [spec.cleanup_policy]
        assert {name: str(value) for name, value in configuration.items()} == dict(spec.config)


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    references = list(_references(ASYNCAPI))
    assert references
    for reference in references:
        if reference.startswith("./"):
            assert (FOLDER / reference).is_file(), reference
        else:
            assert _pointed_at(ASYNCAPI, reference), reference


def test_the_asyncapi_document_has_what_the_standard_requires():
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    assert all({"host", "protocol"} <= server.keys() for server in ASYNCAPI["servers"].values())
    for operation in ASYNCAPI["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert operation["messages"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_a_reply_to_an_address_of_the_asker_has_a_channel_without_one():
    reply = ASYNCAPI["operations"]["answerQuery"]["reply"]
    assert reply["address"]["location"] == "$message.header#/reply-to"
    assert _pointed_at(ASYNCAPI, reply["channel"]["$ref"])["address"] is None


def test_the_headers_and_examples_of_every_message_are_valid_schemas_and_values():
    types = set()
    for name, message in ASYNCAPI["components"]["messages"].items():
        Draft202012Validator.check_schema(message["headers"])
        assert set(message["headers"].get("required", ())) <= message["headers"]["properties"].keys(), name
        types.add(message["headers"]["properties"].get("ce_type", {}).get("const"))
        for example in message.get("examples", ()):
            validator(CLOUD_EVENT).validate(example["payload"])
    assert set(TYPES.values()) <= types


# -- the schemas say what the code does --------------------------------------------------------------------

Strategy = st.SearchStrategy[Any]
words = st.text(min_size=1, max_size=4)
whole = st.integers(1, 1000) | st.just(5.0)
numbers = st.integers(-3, 5) | st.floats(-100, 100)
scalars = st.booleans() | numbers | words
times = st.sampled_from(["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+14:00", 1_700_000_000, 1.5])
wrong = (
    st.sampled_from([None, True, "", " ", "5", "yes", -1, 0, 1.5, 1001, 1e300, 2**31, 2**63, [], {}])
    | st.sampled_from([[None], ["1"], [[1]], {"": 1}, {"a": None}, {"a": {"b": 1}}])
    | words
)


def bodies(required: dict[str, Strategy] | None = None, **optional: Strategy) -> Strategy:
    """Objects as the contract has them; what may be absent may be null."""
    return st.fixed_dictionaries(required or {}, optional=optional)


images = bodies({"url": words}, alt=words | st.none(), bytes=st.none()) | bodies(
    {"bytes": words}, url=st.none()
)
vectors = bodies({"stamp": words, "values": st.lists(numbers, max_size=2)}, kind=st.just("raw")) | bodies(
    {"stamp": words, "data": words}, values=st.none()
)
documents = bodies(
    title=words,
    text=words | st.none(),
    language=words,
    images=st.lists(images, max_size=2),
    vectors=st.lists(vectors, max_size=2),
    tags=st.lists(words, max_size=2),
    fields=st.dictionaries(words, scalars | st.lists(scalars, max_size=2), max_size=2),
    published_at=times,
    version=whole,
)
kinds = {"text": words, "image": images, "document_id": words}
roles = st.sampled_from(["and", "or", "not"])
parts = st.one_of(
    bodies({kind: values}, weight=st.just(0.5) | numbers, role=roles) for kind, values in kinds.items()
)
options = {
    "filter": st.dictionaries(words, scalars, max_size=1),
    "mode": st.sampled_from(["auto", "dense"]),
    "top_k": whole,
    "user_id": words,
    "read_after": st.lists(bodies({"partition": whole, "offset": whole}), max_size=2),
    "explain": st.booleans(),
    "model_version": words | st.none(),
}
browse = bodies(prefix=st.sampled_from(["3", "15.255.4095", None]), depth=st.integers(1, 3), examples=whole)
queries = (
    bodies({"parts": st.lists(parts, min_size=1, max_size=3)}, browse=st.none(), **options)
    | bodies(**kinds, **options)
    | bodies({"browse": browse}, **options)
)
actions = st.sampled_from(["click", "view"])
feedback = bodies(
    {"query_id": words, "document_id": words, "action": actions}, dwell_ms=whole, object_id=words, at=times
) | bodies({"query_id": words, "object_id": words, "action_name": actions}, client_id=words, timestamp=times)
FREE_TEXTS = {"published_at", "at", "timestamp"}
"""Whether a text is a time is told by its format, which is no rule in JSON Schema."""


@st.composite
def spoiled(draw: st.DrawFn, body: Strategy) -> dict[str, Any]:
    """The same, with one place removed, replaced by something else, or made twice under another name."""
    whole_body: dict[str, Any] = draw(body)
    holder, place = draw(st.sampled_from([*_places(whole_body), (whole_body, "x")]))
    value = draw(wrong)
    how = draw(st.sampled_from(["remove", "replace", "add"]))
    if how == "remove" and (isinstance(holder, list) or place in holder):
        del holder[place]
    elif how == "replace" and not (place in FREE_TEXTS and isinstance(value, str)):
        holder[place] = value
    elif isinstance(holder, dict):
        holder[draw(st.sampled_from([*_NAMES]))] = value
    return whole_body


_NAMES = [
    "url",
    "bytes",
    "data",
    "values",
    "text",
    "image",
    "parts",
    "weight",
    "role",
    "video",
    "title",
    "x",
    "",
]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for place, value in list(inner):
        yield node, place
        yield from _places(value)


@settings(max_examples=400)
@given(documents | spoiled(documents))
def test_the_schema_takes_a_document_exactly_if_the_code_does(body: dict[str, Any]):
    taken = _is_taken(Document, body) and not Document.model_validate(body).is_empty() and "video" not in body
    assert validator("document").is_valid(body) == taken


@settings(max_examples=400)
@given(queries | spoiled(queries))
def test_the_schema_takes_a_query_exactly_if_the_code_does(body: dict[str, Any]):
    assert validator("query").is_valid(body) == _is_taken(Query, body)


@settings(max_examples=200)
@given(feedback | spoiled(feedback))
def test_the_schema_takes_feedback_exactly_if_the_code_does(body: dict[str, Any]):
    assert validator("feedback").is_valid(body) == _is_taken(Feedback, body)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("document", {"title": " "}),
        ("document", {"title": "a", "version": True}),
        ("document", {"title": "a", "version": "5"}),
        ("document", {"title": "a", "video": "https://shop.example/a.mp4"}),
        ("document", {"images": [{"url": "https://shop.example/a.png", "bytes": "AA=="}]}),
        ("query", {"parts": [{"text": "red", "weight": -1}]}),
        ("query", {"parts": [{"text": "red", "role": "not"}]}),
        ("query", {"parts": [{"text": "red"}, {"text": "blue", "role": "or", "weight": -1}]}),
        ("query", {"text": None}),
        ("query", {"text": "red", "browse": {}}),
        ("query", {"browse": {"prefix": "3.17.402.8"}}),
        ("result", {"query_id": "1", "hits": [], "branches": []}),
        ("query", {"parts": [{"text": "red", "weight": "1"}]}),
        ("result", {"query_id": "1"}),
        ("result", {"query_id": "1", "hits": [], "error": {"code": "expired", "message": ""}}),
        ("receipt", {"document_id": "a", "status": "lost", "source": {"partition": 0, "offset": 1}, "took_ms": 1}),
        ("move", {"document_id": "a", "from_id": "3.17", "to_leaf": "3.17.1", "epoch": 1, "codebook_offset": 1}),
        ("cloud-event", {"specversion": "1.0", "id": "1", "source": "/a", "type": "other", "data": {}}),
        ("cloud-event", {"specversion": "1.0", "id": "1", "source": "/a", "type": TYPES["queries"], "data": None}),
        ("cloud-event", {"specversion": "1.0", "id": "1", "source": "/a", "type": TYPES["documents"]}),
    ],
)  # fmt: skip
def test_a_schema_refuses_what_nobody_means(name: str, body: dict[str, Any]):
    assert refuses(name, body)


def test_what_is_written_has_no_nulls_and_unknown_fields_are_let_through():
    result = EXAMPLES[Result][0]
    assert refuses("result", {**result, "mode": None})
    assert not refuses("result", {**result, "field_of_tomorrow": 1})


def _is_taken(model: type[Event], body: dict[str, Any]) -> bool:
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


def _models() -> Iterator[type[Event]]:
    waiting = Event.__subclasses__()
    while waiting:
        model = waiting.pop()
        if model.__module__.startswith("streams.events."):  # tests may have events of their own
            yield model
            waiting += model.__subclasses__()


def _parts() -> set[type[Event]]:
    """Events that stand within others."""
    inner = {name for schema in SCHEMAS.values() for name in schema.get("$defs", {})}
    return {model for model in _models() if model.__name__ in inner}


def _fields(schema: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    for place, part in [("", schema), *schema.get("$defs", {}).items()]:
        for name, field in part.get("properties", {}).items():
            yield f"{where}{place}.{name}", field


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _pointed_at(document: Any, pointer: str) -> Any:
    assert pointer.startswith("#/")
    for name in pointer[2:].split("/"):
        document = document[name.replace("~1", "/").replace("~0", "~")]
    return document
