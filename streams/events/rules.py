"""What validators check beyond types, said again as JSON Schema, so that the schemas refuse what we refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonSchema = dict[str, Any]

UNSUPPORTED_MODALITIES = ("video", "audio", "videos", "audios")
"""Names that a body may not use: they are known and not supported yet, so they must not pass unseen."""

_NOT_NULL: JsonSchema = {"not": {"type": "null"}}

SOME_PART_COUNTS: JsonSchema = {
    "contains": {"properties": {"weight": {"exclusiveMinimum": 0}, "role": {"not": {"const": "not"}}}}
}

SIGNED_IN_AND_ALONE: JsonSchema = {
    "if": {"properties": {"role": {"not": {"const": "and"}}}, "required": ["role"]},
    "then": {"properties": {"weight": {"minimum": 0}}},
}


def one_of(*names: str) -> JsonSchema:
    """Exactly one of these fields is there and not null."""
    return {"oneOf": [_given(name, _NOT_NULL) for name in names]}


def searchable() -> JsonSchema:
    """There is something to find a document by, and nothing of a modality that is not supported."""
    words: JsonSchema = {"type": "string", "pattern": r"\S"}
    some: JsonSchema = {"type": "array", "minItems": 1}
    ways = {"title": words, "text": words, "images": some, "vectors": some}
    return {
        "anyOf": [_given(name, rule) for name, rule in ways.items()],
        "propertyNames": {"not": {"enum": list(UNSUPPORTED_MODALITIES)}},
    }


def parts_or(instead: str, schema: JsonSchema, kinds: Mapping[str, JsonSchema]) -> None:
    """Either `parts`, or their shorthand (some of `kinds`; null is none of them), or `instead`."""
    without: JsonSchema = {instead: {"type": "null"}}
    short = {
        "description": "The shorthand: one part of weight 1 for each of these.",
        "not": {"required": ["parts"]},
        "properties": without | {name: {"allOf": [kind, _NOT_NULL]} for name, kind in kinds.items()},
        "anyOf": [{"required": [name]} for name in kinds],
    }
    no_parts = {"not": {"anyOf": [{"required": [name]} for name in ("parts", *kinds)]}}
    empty = {"required": ["parts"], "properties": {"parts": {"maxItems": 0}}}
    schema["anyOf"] = [
        {"required": ["parts"], "properties": without | {"parts": SOME_PART_COUNTS}},
        short,
        _given(instead, _NOT_NULL) | {"anyOf": [no_parts, empty]},
    ]


def add_aliases(schema: JsonSchema, aliases: Mapping[str, str]) -> None:
    """Where a field is missing, its alias is read in its place."""
    required = schema["required"]
    conditions = []
    for name, alias in aliases.items():
        instead: JsonSchema = {"properties": {alias: schema["properties"][name]}}
        if name in required:
            required.remove(name)
            instead["required"] = [alias]
        conditions.append({"if": {"required": [name]}, "else": instead})
    schema["allOf"] = conditions


def _given(name: str, rule: JsonSchema) -> JsonSchema:
    return {"required": [name], "properties": {name: rule}}
