"""A JSON Schema (draft 2020-12) for each event, whole in itself, with descriptions and examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema

from streams.events.assignments import Assignment, EpochComplete
from streams.events.bad_cases import BadCase
from streams.events.base import Event
from streams.events.click_memory import MemorySummary, RememberedClicks
from streams.events.codebooks import ActiveEpoch, CodebookEpoch, LeafState, Move, RollBack, TreePart
from streams.events.documents import Document, Receipt
from streams.events.forgetting import ForgetReceipt, ForgetRequest, UserSalt
from streams.events.impressions import Feedback, Impression
from streams.events.models import ActiveModel, AdapterRollout, ModelBundle, RolloutRequest
from streams.events.profiles import Profile
from streams.events.queries import Query, Result
from streams.events.training import TrainingProgress, TrainingRequest
from streams.headers import DELETED, TYPES
from streams.schemas.examples import DELETE_EVENT, DOCUMENT_EVENT, EXAMPLES, QUERY_EVENT

Direction = Literal["validation", "serialization"]
READ: Direction = "validation"
WRITTEN: Direction = "serialization"


@dataclass(frozen=True)
class EventFile:
    """An event and the name of its schema. `direction`: whether strangers write it or we do."""

    name: str
    model: type[Event]
    direction: Direction


EVENT_FILES = (
    EventFile("document", Document, READ),
    EventFile("receipt", Receipt, WRITTEN),
    EventFile("assignment", Assignment, WRITTEN),
    EventFile("epoch-complete", EpochComplete, WRITTEN),
    EventFile("codebook-epoch", CodebookEpoch, WRITTEN),
    EventFile("tree-part", TreePart, WRITTEN),
    EventFile("active-epoch", ActiveEpoch, WRITTEN),
    EventFile("leaf-state", LeafState, WRITTEN),
    EventFile("roll-back", RollBack, WRITTEN),
    EventFile("model-bundle", ModelBundle, WRITTEN),
    EventFile("active-model", ActiveModel, WRITTEN),
    EventFile("adapter-rollout", AdapterRollout, WRITTEN),
    EventFile("rollout-request", RolloutRequest, WRITTEN),
    EventFile("training-request", TrainingRequest, WRITTEN),
    EventFile("training-progress", TrainingProgress, WRITTEN),
    EventFile("move", Move, READ),
    EventFile("query", Query, READ),
    EventFile("result", Result, WRITTEN),
    EventFile("impression", Impression, WRITTEN),
    EventFile("feedback", Feedback, READ),
    EventFile("remembered-clicks", RememberedClicks, WRITTEN),
    EventFile("memory-summary", MemorySummary, WRITTEN),
    EventFile("profile", Profile, WRITTEN),
    EventFile("user-salt", UserSalt, WRITTEN),
    EventFile("forget-request", ForgetRequest, READ),
    EventFile("forget-receipt", ForgetReceipt, WRITTEN),
    EventFile("bad-case", BadCase, WRITTEN),
)
CLOUD_EVENT = "cloud-event"
_DATA_OF = {
    TYPES["documents"]: "document",
    TYPES["queries"]: "query",
    TYPES["moves"]: "move",
    TYPES["feedback"]: "feedback",
    TYPES["forget"]: "forget-request",
}


class _ReadSchema(GenerateJsonSchema):
    """Without titles, which would only repeat the names. An optional field may be absent or null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        default = super().get_default_value(schema)
        return NoDefault if default is None else default


class _WrittenSchema(_ReadSchema):
    """Fields without a value are not written, so there is no null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def event_schema(file: EventFile) -> JsonSchemaValue:
    """The schema of one event."""
    generator = _ReadSchema if file.direction == READ else _WrittenSchema
    schema = file.model.model_json_schema(schema_generator=generator, mode=file.direction)
    return {**_head(file.name), **_reflowed(schema), "examples": EXAMPLES[file.model]}


def cloud_event_schema() -> JsonSchemaValue:
    """The envelope of structured mode; what its `data` holds follows from its `type`."""
    attributes = {
        "specversion": {"const": "1.0", "description": "The version of CloudEvents."},
        "id": {"type": "string", "minLength": 1, "description": "The sender's own id of this event."},
        "source": {"type": "string", "minLength": 1, "description": "The sender, as a URI reference."},
        "type": {
            "enum": [*_DATA_OF, DELETED],
            "description": "What happened; it must belong to the topic. The key of the record is the id.",
        },
        "time": {"type": "string", "format": "date-time", "description": "When it happened."},
        "datacontenttype": {"type": "string", "description": "`application/json`."},
        "data": {"description": "The event. Null in an event of `documents` deletes the document."},
        "data_base64": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "The event as JSON in base64, where there is no `data`.",
        },
    }
    return {
        **_head(CLOUD_EVENT),
        "title": "CloudEvent",
        "description": "CloudEvents 1.0 in structured mode: the whole event in the body of the record.",
        "type": "object",
        "properties": attributes,
        "required": ["specversion", "id", "source", "type"],
        "allOf": [_data_rule(kind, name) for kind, name in _DATA_OF.items()],
        "examples": [DOCUMENT_EVENT, DELETE_EVENT, QUERY_EVENT],
    }


def _reflowed(schema: Any) -> Any:
    """The same with descriptions as lines of a paragraph each: docstrings break where the code does."""
    if isinstance(schema, list):
        return [_reflowed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _paragraphs(value) if _is_text(name, value) else _reflowed(value)
        for name, value in schema.items()
    }


def _is_text(name: str, value: Any) -> bool:
    return name == "description" and isinstance(value, str)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _data_rule(kind: str, name: str) -> JsonSchemaValue:
    data: JsonSchemaValue = {"$ref": f"urn:trieflow:{name}:v1"}
    if name == "document":
        data = {"anyOf": [data, {"type": "null"}]}
    return {
        "if": {"properties": {"type": {"const": kind}}},
        "then": {
            "properties": {"data": data},
            "anyOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
        },
    }


def _head(name: str) -> JsonSchemaValue:
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:trieflow:{name}:v1"}
