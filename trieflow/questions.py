"""From what a person writes to a `Query`: a text, several parts, a picture, a document, weights."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import orjson

from streams.codec import decode_body
from streams.errors import DataError
from streams.events.base import LogPosition
from streams.events.documents import ImageSource, Receipt
from streams.events.queries import Query, QueryPart, SearchMode
from streams.headers import IncomingHeaders
from trieflow.pictures import fitted

Part = str | QueryPart | Mapping[str, Any]
Question = str | Query | Mapping[str, Any] | Sequence[Part]
Freshness = Receipt | Sequence[LogPosition]


class SearchOptions(TypedDict, total=False):
    """What a question may carry beside its words. Absent and None mean the same.

    `image`: bytes, a path or a URL. `like`: a document id. `weights`: one for each part in order: texts, then
    `image`, then `like`; those below 0 push away. `read_after`: a receipt, or log positions, that the answer
    must have seen. `timeout`: seconds, the deadline that the searcher is told.
    """

    image: bytes | str | Path | None
    like: str | None
    weights: Sequence[float] | None
    top_k: int | None
    mode: SearchMode | None
    filter: Mapping[str, Any] | None
    read_after: Freshness | None
    explain: bool | None
    learn: bool | None
    user_id: str | None
    personal: bool | None
    session_id: str | None
    previous_query_id: str | None
    timeout: float | None


_QUERY_FIELDS = (
    "top_k",
    "mode",
    "filter",
    "explain",
    "learn",
    "user_id",
    "personal",
    "session_id",
    "previous_query_id",
)


def build_query(question: Question | None, options: SearchOptions, *, inline_limit: int) -> Query:
    """Return the query; pictures larger than `inline_limit` bytes are made smaller.

    A whole `Query`, or a mapping as in the contract, is taken as it is, and the options replace its fields.
    Raises DataError `schema`, `undecodable_image`, `unreachable`.
    """
    body = _as_mapping(question)
    parts = [_part(part) for part in body.pop("parts", [])]
    image, like, weights = options.get("image"), options.get("like"), options.get("weights")
    if image is not None:
        parts.append({"image": _image(image, inline_limit)})
    if like is not None:
        parts.append({"document_id": like})
    if weights is not None:
        parts = _weighted(parts, weights)
    fields = {name: options.get(name) for name in _QUERY_FIELDS}
    fields["read_after"] = positions(options.get("read_after"))
    given = {name: value for name, value in fields.items() if value is not None}
    whole = orjson.dumps({**body, "parts": parts, **given})
    query = decode_body(whole, model=Query, topic="queries", headers=IncomingHeaders())
    if query is None:  # only a structured CloudEvent can be empty
        raise DataError("schema", "the query is empty")
    return query


def positions(read_after: Freshness | None) -> list[dict[str, int]] | None:
    """The log positions of `read_after`: given as they are, or those of a receipt."""
    if isinstance(read_after, Receipt):
        read_after = read_after.read_after
    return None if read_after is None else [position.model_dump() for position in read_after]


def _as_mapping(question: Question | None) -> dict[str, Any]:
    if question is None:
        return {}
    if isinstance(question, str):
        return {"parts": [question]}
    if isinstance(question, Query):
        return question.model_dump(exclude_none=True)
    if not isinstance(question, Mapping):
        return {"parts": list(question)}
    body = dict(question)
    if "parts" not in body:  # the shorthand of the contract: {"text": "red boots"}
        kinds = [name for name in ("text", "image", "document_id") if name in body]
        body["parts"] = [{name: body.pop(name)} for name in kinds]
    return body


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if isinstance(part, QueryPart):
        return part.model_dump(exclude_none=True)
    return dict(part)


def _weighted(parts: list[dict[str, Any]], weights: Sequence[float]) -> list[dict[str, Any]]:
    if len(weights) != len(parts):
        raise DataError(
            "schema",
            f"{len(weights)} weights for {len(parts)} parts: one for each text, then picture, then document",
            field="weights",
        )
    return [{**part, "weight": weight} for part, weight in zip(parts, weights, strict=True)]


def _image(image: bytes | str | Path, inline_limit: int) -> dict[str, Any]:
    if isinstance(image, str) and "://" in image:
        return ImageSource(url=image).model_dump(exclude_none=True)
    content = image if isinstance(image, bytes) else _read(Path(image))
    return {"bytes": base64.b64encode(fitted(content, inline_limit)).decode()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError("unreachable", f"cannot read the picture {path}: {error.strerror}") from error
