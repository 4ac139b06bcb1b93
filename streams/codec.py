"""Bytes to events: size, depth, JSON, structured CloudEvents, type, schema, in that order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from streams.errors import DataError
from streams.events.rules import UNSUPPORTED_MODALITIES
from streams.headers import ACCEPTED_TYPES, DELETED, IncomingHeaders
from streams.settings import MIB

MAX_MESSAGE = 4 * MIB
MAX_DEPTH = 32
MAX_KEY = 4096

M = TypeVar("M", bound=BaseModel)


def decode_key(key: bytes | None) -> str:
    """The key as text. Raises DataError `bad_key` when missing, empty, too long, reserved or not UTF-8."""
    if not key:
        raise DataError("bad_key", "the record has no key; the key is the id, as UTF-8 text")
    if len(key) > MAX_KEY:
        raise DataError("bad_key", f"the key has {len(key)} bytes; at most {MAX_KEY} are allowed")
    try:
        text = key.decode()
    except UnicodeDecodeError as error:
        raise DataError("bad_key", "the key is not UTF-8 text") from error
    if text.startswith("\x00"):
        raise DataError("bad_key", "keys that start with U+0000 are reserved")
    return text


def decode_body(
    value: bytes, *, model: type[M], topic: str, headers: IncomingHeaders, limit: int = MAX_MESSAGE
) -> M | None:
    """Read a body into `model`; None for a structured CloudEvent that deletes (data is null, or by its type).

    `topic` is the short name, as in `documents`. Raises DataError: `too_large`, `too_deep`, `not_json`,
    `unknown_type`, `schema` (with the field).
    """
    if len(value) > limit:
        raise DataError("too_large", f"the message has {len(value)} bytes; at most {limit} are allowed")
    data = _load(value)
    kind = headers.event_type
    if headers.is_structured:
        kind, data = _unwrap(data)
    if kind is not None and kind not in ACCEPTED_TYPES[topic]:
        accepted = ", ".join(sorted(ACCEPTED_TYPES[topic]))
        raise DataError(
            "unknown_type", f"ce_type {kind[:200]!r} does not belong on this topic; use {accepted}"
        )
    if headers.is_structured and (data is None or kind == DELETED):
        return None
    if not isinstance(data, Mapping):
        raise DataError("schema", f"the body must be a JSON object, not {type(data).__name__}")
    return _validate(model, data)


def decode_version(headers: IncomingHeaders) -> int | None:
    """The version of a delete, which has no body to carry it: header `version`. Raises DataError `schema`."""
    text = headers.text("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise DataError("schema", "a version is a whole number below 2**63", field="version")
    return int(text)


def _load(value: bytes) -> Any:
    _check_depth(value)
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise DataError("not_json", f"the body is not JSON: {error}") from error


def _check_depth(value: bytes) -> None:
    """Refuse deep nesting before parsing. Brackets inside strings count only when the plain count is over."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth, in_string, escaped = 0, False, False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            if depth > MAX_DEPTH:
                raise DataError("too_deep", f"the body is nested deeper than {MAX_DEPTH} levels")
        elif byte in (0x5D, 0x7D):
            depth -= 1


def _unwrap(data: Any) -> tuple[str, Any]:
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise DataError(
            "schema", "a structured CloudEvent needs 'type', 'source', 'id', 'specversion'", field="type"
        )
    if data.get("specversion") != "1.0":
        raise DataError("schema", "only CloudEvents 1.0 is understood", field="specversion")
    return data["type"], _event_data(data)


def _event_data(event: Mapping[str, Any]) -> Any:
    """`data`, or `data_base64` decoded. Only an explicit null deletes: a forgotten name must not."""
    if "data" in event:
        return event["data"]
    if event["type"] == DELETED:
        return None
    if not isinstance(event.get("data_base64"), str):
        raise DataError("schema", "the event has no data; to delete a document send null", field="data")
    try:
        return _load(base64.b64decode(event["data_base64"], validate=True))
    except (binascii.Error, ValueError) as error:
        raise DataError("schema", f"the data is not base64: {error}", field="data_base64") from error


def _validate(model: type[M], data: Mapping[str, Any]) -> M:
    for word in UNSUPPORTED_MODALITIES:
        if word in data:
            raise DataError("unsupported_modality", f"{word} is not supported yet", field=word)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise DataError("schema", f"{first['msg']}{more}", field=field[:200] or None) from error
