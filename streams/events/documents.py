"""`documents` (what publishers send) and `receipts` (what became of it)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from streams.events.base import ErrorDetail, Event, LogPosition, SourceAddress
from streams.semantic_id import SemanticIdText

MAX_FIELD_TEXT = 10_000
MAX_FIELD_LIST = 1_024


def _checked_field_value(value: object) -> object:
    """One clear message in place of one for each type that a value might have had."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, bool | int | float | str) for each in values):
        raise ValueError("a field holds a text, a number, true or false, or a list of such")
    if len(values) > MAX_FIELD_LIST:
        raise ValueError(f"a field holds at most {MAX_FIELD_LIST:,} values")
    if any(isinstance(each, str) and len(each) > MAX_FIELD_TEXT for each in values):
        raise ValueError(
            f"a text in a field has at most {MAX_FIELD_TEXT:,} characters; longer ones go to 'text'"
        )
    return value


Scalar = bool | int | float | Annotated[str, StringConstraints(max_length=MAX_FIELD_TEXT)]
FieldValue = Annotated[
    Scalar | Annotated[list[Scalar], Field(max_length=MAX_FIELD_LIST)], BeforeValidator(_checked_field_value)
]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=256)]

VectorKind = Literal["image", "text", "passage", "fused", "raw"]


class ImageSource(Event):
    """A picture: inline base64 `bytes` (up to 256 KiB by default) or a `url` to fetch it from."""

    url: str | None = Field(default=None, max_length=8192)
    bytes: str | None = None
    alt: str | None = Field(default=None, max_length=10_000)

    @model_validator(mode="after")
    def _exactly_one_source(self) -> ImageSource:
        if (self.url is None) == (self.bytes is None):
            raise ValueError("an image has either 'url' or 'bytes'")
        return self


class GivenVector(Event):
    """A ready vector. Accepted when `stamp` is the active encoder's; `data` is base64 little-endian f16."""

    stamp: str
    kind: VectorKind = "fused"
    data: str | None = None
    values: list[float] | None = Field(default=None, max_length=16_384)

    @model_validator(mode="after")
    def _exactly_one_form(self) -> GivenVector:
        if (self.data is None) == (self.values is None):
            raise ValueError("a vector has either 'data' (base64 f16) or 'values'")
        return self


class Document(Event):
    """A new or changed document. The Kafka key is its id; a null value deletes it.

    At least one of title, text, images, vectors. `video` and `audio` are known words, rejected with
    `unsupported_modality` for now.
    """

    title: str | None = Field(default=None, max_length=10_000)
    text: str | None = Field(default=None, max_length=1_000_000)
    language: str | None = Field(default=None, max_length=35)
    images: list[ImageSource] = Field(default_factory=list, max_length=16)
    vectors: list[GivenVector] = Field(default_factory=list, max_length=64)
    tags: list[Tag] = Field(default_factory=list, max_length=256)
    fields: dict[FieldName, FieldValue] = Field(default_factory=dict, max_length=256)
    published_at: datetime | None = None
    version: int | None = Field(default=None, ge=0, lt=2**63)

    def is_empty(self) -> bool:
        """True when there is nothing to find this document by."""
        texts = (self.title or "").strip() + (self.text or "").strip()
        return not (texts or self.images or self.vectors)


ReceiptStatus = Literal["indexed", "updated", "unchanged", "deleted", "ignored", "rejected"]


class Receipt(Event):
    """What became of one document event.

    `read_after` points into `assignments`, inclusive: a query that carries it sees the document, or is told
    `not_yet`.
    """

    document_id: str
    status: ReceiptStatus
    semantic_id: SemanticIdText | None = None
    epoch: int | None = None
    read_after: list[LogPosition] | None = None
    source: SourceAddress
    error: ErrorDetail | None = None
    took_ms: float
