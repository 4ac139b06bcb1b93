"""`impressions` (what was shown) and `feedback` (what people did with it)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from streams.events.assignments import StampedVector
from streams.events.base import Event, LogPosition, Number, Timestamp
from streams.events.queries import PartRole, SearchMode, Unsure
from streams.events.rules import JsonSchema, add_aliases

UBI_ALIASES = {
    "document_id": "object_id",
    "action": "action_name",
    "user_id": "client_id",
    "at": "timestamp",
}

Arm = Literal["active", "candidate", "interleaved", "fallback"]


class ShownDocument(Event):
    """One shown hit."""

    document_id: str
    """The document."""
    position: int
    """From 1."""
    score: float
    """As in the hit."""
    propensity: float
    """The assumed probability that this position was looked at, 0 to 1."""
    team: Literal["incumbent", "candidate"] | None = None
    """Which of two interleaved rankings it came from."""
    relevance: float | None = None
    """The score without what fine-ranking added; absent where two rankings were interleaved."""
    lexical: float | None = None
    """What words gave of it; absent: nothing."""


class ImpressionPart(Event):
    """One query part as logged."""

    kind: Literal["text", "image", "document"]
    """What the part was."""
    text: str | None = None
    """Only where the setting `privacy.log_query_text` allows it."""
    document_id: str | None = None
    """Of "like this document"."""
    weight: float
    """As asked, -100 to 100."""
    role: PartRole = "and"
    """As asked."""


class Impression(Event):
    """What one answer showed, and from which models and log positions. Key: the query id; the first one counts."""

    query_id: str
    """The query that was answered."""
    user: str | None = None
    """Keyed hash (HMAC-SHA-256, hex) of the `user_id` of the query, by a salt of that user."""
    session_id: str | None = None
    """As asked; of a user, a hash likewise."""
    previous_query_id: str | None = None
    """As asked."""
    parts: list[ImpressionPart]
    """The query."""
    query_vector: StampedVector | None = None
    """The weighted sum of the vectors of the parts, without those of the role `not`."""
    shown: list[ShownDocument]
    """The hits, the best first."""
    shuffled: bool = False
    """Whether chance put neighbours in order, to learn what position does."""
    random_pairs: list[int] = Field(default_factory=list)
    """Of which pairs: the upper position of each."""
    history: list[str] = Field(default_factory=list)
    """Ids of the documents that the user chose before and that had a part in the answer, the latest first."""
    unknown_words: list[str] = Field(default_factory=list)
    """Words of the query that stand in no document, as keyed hashes (HMAC-SHA-256, 32 digits)."""
    models: list[str]
    """What took part: the stamp of the encoder, then `name@version` of the bundles."""
    bundle: str | None = None
    """`<name>@<version>` of the bundle whose weights counted; absent while there is none."""
    mode: SearchMode | None = None
    """The path that was taken."""
    unsure: Unsure | None = None
    """As in the result."""
    low_confidence: bool | None = None
    """As in the result."""
    arm: Arm = "active"
    """Who answered in a rollout: what serves, its candidate, both interleaved, or what serves for a candidate that
    failed."""
    took_ms: float | None = None
    """Milliseconds until the answer was made."""
    epoch: int
    """The epoch of the codebooks."""
    fresh_to: list[LogPosition]
    """How far `assignments` was read before the search."""
    fresh_until: list[LogPosition] | None = None
    """As in the result."""
    behind: dict[str, int] | None = None
    """As in the result."""
    codebook_offset: int = -1
    """How far `codebooks` was read, inclusive; -1: nothing."""
    memory_offset: int = -1
    """How far `click-memory` was read, inclusive; -1: nothing."""
    at: datetime
    """When the answer was made."""


def _with_aliases(schema: JsonSchema) -> None:
    add_aliases(schema, UBI_ALIASES)


class Feedback(Event):
    """A click, save, hide, conversion or view. Key: the query id.

    The OpenSearch UBI names are taken as well: `object_id`, `action_name`, `client_id`, `timestamp`.
    """

    model_config = ConfigDict(populate_by_name=True, json_schema_extra=_with_aliases)

    query_id: str = Field(min_length=1, max_length=1024)
    """The query whose hit it is about."""
    document_id: str = Field(
        min_length=1, max_length=4096, validation_alias=AliasChoices("document_id", "object_id")
    )
    """The hit."""
    action: Literal["click", "save", "hide", "convert", "view"] = Field(
        validation_alias=AliasChoices("action", "action_name")
    )
    """What the person did."""
    dwell_ms: Number | None = Field(default=None, ge=0)
    """How long the person stayed, in milliseconds."""
    user_id: str | None = Field(
        default=None, max_length=1024, validation_alias=AliasChoices("user_id", "client_id")
    )
    """Who did it."""
    at: Timestamp | None = Field(default=None, validation_alias=AliasChoices("at", "timestamp"))
    """When: RFC 3339 text, or seconds since the epoch (milliseconds above 2e10)."""
