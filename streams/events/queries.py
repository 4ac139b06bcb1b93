"""`queries` and `results`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from streams.events.base import ErrorDetail, Event, LogPosition
from streams.events.documents import FieldValue, ImageSource
from streams.semantic_id import SemanticIdText

SearchMode = Literal["auto", "generative", "dense", "lexical"]

MAX_TOP_K = 1_000
MAX_PARTS = 16


class QueryPart(Event):
    """One signed part of a query: a text, a picture, or "like this document"."""

    text: str | None = Field(default=None, min_length=1, max_length=10_000)
    image: ImageSource | None = None
    document_id: str | None = Field(default=None, min_length=1, max_length=4096)
    weight: float = Field(default=1.0, ge=-100, le=100)

    @model_validator(mode="after")
    def _exactly_one_kind(self) -> QueryPart:
        given = [self.text is not None, self.image is not None, self.document_id is not None]
        if sum(given) != 1:
            raise ValueError("a part has exactly one of 'text', 'image', 'document_id'")
        return self


class Query(Event):
    """A search request. The shorthand `{"text": "red boots"}` means one part of weight 1."""

    parts: list[QueryPart] = Field(min_length=1, max_length=MAX_PARTS)
    filter: dict[str, Any] | None = None
    mode: SearchMode = "auto"
    top_k: int = Field(default=10, ge=1, le=MAX_TOP_K)
    user_id: str | None = Field(default=None, max_length=1024)
    session_id: str | None = Field(default=None, max_length=1024)
    previous_query_id: str | None = Field(default=None, max_length=1024)
    read_after: list[LogPosition] | None = Field(default=None, max_length=1024)
    explain: bool = False
    model_version: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, data: Any) -> Any:
        if isinstance(data, dict) and "parts" not in data:
            part = {name: data[name] for name in ("text", "image", "document_id") if name in data}
            if part:
                rest = {name: value for name, value in data.items() if name not in part}
                return {**rest, "parts": [{name: value} for name, value in part.items()]}
        return data

    @model_validator(mode="after")
    def _some_part_counts(self) -> Query:
        if not any(part.weight > 0 for part in self.parts):
            raise ValueError("at least one part needs a weight above 0")
        return self


class Hit(Event):
    """One found document. With `explain`, `parts` sum to `score`."""

    document_id: str
    semantic_id: SemanticIdText | None
    score: float
    position: int
    parts: dict[str, float] | None = None
    levels: list[float] | None = None
    title: str | None = None
    fields: dict[str, FieldValue] | None = None
    tags: list[str] | None = None
    image: str | None = None


class Result(Event):
    """An answer (with `hits`) or a failure (with `error`). Key: the query id.

    `fresh_to`: the log position, by partition, that this answer has seen (inclusive). `took_ms` by stage.
    """

    query_id: str
    hits: list[Hit] | None = None
    mode: SearchMode | None = None
    model_version: str | None = None
    epoch: int | None = None
    codebook_offset: int | None = None
    fresh_to: list[LogPosition] | None = None
    newest_document_age_ms: float | None = None
    took_ms: dict[str, float] | None = None
    error: ErrorDetail | None = None

    @model_validator(mode="after")
    def _answer_or_failure(self) -> Result:
        if (self.hits is None) == (self.error is None):
            raise ValueError("a result has either 'hits' or 'error'")
        return self
