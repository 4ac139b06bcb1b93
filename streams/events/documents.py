"""`documents` (what publishers send) and `receipts` (what became of it)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from streams.events.base import ErrorDetail, Event, LogPosition, Number, SourceAddress, Timestamp, Version
from streams.events.rules import one_of, searchable
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
    """A picture, inline or by address: JPEG, PNG, WEBP, GIF, BMP or TIFF; of an animation the first frame."""

    model_config = ConfigDict(json_schema_extra=one_of("url", "bytes"))

    url: str | None = Field(default=None, max_length=8192)
    """Where to fetch it from: `https:`, or `file:` below an allowed folder. For pictures over 256 KiB."""
    bytes: str | None = Field(default=None, json_schema_extra={"contentEncoding": "base64"})
    """The picture itself in base64; at most 256 KiB of picture unless the operator allows more."""
    alt: str | None = Field(default=None, max_length=10_000)
    """A description; in a document it is searched as part of the text."""

    @model_validator(mode="after")
    def _exactly_one_source(self) -> ImageSource:
        if (self.url is None) == (self.bytes is None):
            raise ValueError("an image has either 'url' or 'bytes'")
        return self


class GivenVector(Event):
    """A ready vector, taken when `stamp` is that of the running encoder; then nothing is encoded."""

    model_config = ConfigDict(json_schema_extra=one_of("data", "values"))

    stamp: str
    """The encoder that made it; it must be the running one, which each result names as `model_version`."""
    kind: VectorKind = "fused"
    """What it is the vector of; `fused` is the whole document. `raw` reranks pictures and cannot stand alone."""
    data: str | None = Field(default=None, json_schema_extra={"contentEncoding": "base64"})
    """Little-endian 16-bit floats in base64; as many as the encoder has dimensions."""
    values: list[Number] | None = Field(default=None, max_length=16_384)
    """The same as JSON numbers; kept as 16-bit floats, so each is within ±65,504."""

    @model_validator(mode="after")
    def _exactly_one_form(self) -> GivenVector:
        if (self.data is None) == (self.values is None):
            raise ValueError("a vector has either 'data' (base64 f16) or 'values'")
        return self


class Document(Event):
    """A new or changed document. The Kafka key is its id; a null value deletes it.

    It replaces the whole document of that id. At least one of title, text, images, vectors.
    """

    model_config = ConfigDict(json_schema_extra=searchable())

    title: str | None = Field(default=None, max_length=10_000)
    """Searched, and shown in hits."""
    text: str | None = Field(default=None, max_length=1_000_000)
    """Searched; split into passages where it is longer than the encoder's window."""
    language: str | None = Field(default=None, max_length=35)
    """BCP 47 tag, as `pt-BR`. Can be filtered by."""
    images: list[ImageSource] = Field(default_factory=list, max_length=16)
    """Each gives one vector; the thumbnail of the first one is shown in hits."""
    vectors: list[GivenVector] = Field(default_factory=list, max_length=64)
    """Ready vectors. When there are any, nothing of the document is encoded."""
    tags: list[Tag] = Field(default_factory=list, max_length=256)
    """Can be filtered by; shown in hits."""
    fields: dict[FieldName, FieldValue] = Field(default_factory=dict, max_length=256)
    """Metadata of the publisher's own: name to value, or list of values. Can be filtered by; shown in hits."""
    published_at: Timestamp | None = None
    """When it was published: RFC 3339 text (UTC without an offset), or seconds since the epoch. For filters."""
    version: Version | None = None
    """A lower version than the stored one is ignored, also after a delete; an equal one is taken."""

    def is_empty(self) -> bool:
        """True when there is nothing to find this document by."""
        texts = (self.title or "").strip() + (self.text or "").strip()
        return not (texts or self.images or self.vectors)


ReceiptStatus = Literal["indexed", "updated", "unchanged", "deleted", "ignored", "rejected"]


class Receipt(Event):
    """What became of one record of `documents`. Key: the document id.

    A receipt without a log record (`unchanged`, `ignored`, `rejected`) may come twice after a crash, with the
    same `ce_id`.
    """

    document_id: str
    """The key of the record; empty when it could not be used."""
    status: ReceiptStatus
    """`unchanged`: stored already. `ignored`: too old, or nothing to delete. `rejected`: see `error`."""
    semantic_id: SemanticIdText | None = None
    """The id `c.s.k.i` in the tree of meanings of `epoch`."""
    epoch: int | None = None
    """The epoch of the codebooks that `semantic_id` belongs to."""
    read_after: list[LogPosition] | None = None
    """A query that carries it sees this change, or is told `not_yet`. Positions of `assignments`."""
    source: SourceAddress
    """The record that this is the receipt of."""
    error: ErrorDetail | None = None
    """Why, when `ignored` or `rejected`."""
    took_ms: float
    """Milliseconds from the start of the batch to the decision about this record."""
