"""`impressions` (what was shown) and `feedback` (what people did with it)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from streams.events.assignments import StampedVector
from streams.events.base import Event, LogPosition


class ShownDocument(Event):
    """One shown hit; `propensity` is the probability that its position was examined."""

    document_id: str
    position: int
    score: float
    propensity: float
    team: str | None = None


class ImpressionPart(Event):
    """One query part as logged: the text only where `privacy.log_query_text` allows it."""

    kind: Literal["text", "image", "document"]
    text: str | None = None
    document_id: str | None = None
    weight: float


class Impression(Event):
    """What one answer showed, and from which models and log positions. The first one of a query id counts."""

    query_id: str
    user: str | None = None
    session_id: str | None = None
    previous_query_id: str | None = None
    parts: list[ImpressionPart]
    query_vector: StampedVector | None = None
    shown: list[ShownDocument]
    shuffled: bool = False
    models: list[str]
    arm: str = "active"
    epoch: int
    fresh_to: list[LogPosition]
    codebook_offset: int = -1
    memory_offset: int = -1
    at: datetime


class Feedback(Event):
    """A click, save, hide, conversion or view. OpenSearch UBI names are accepted as aliases."""

    model_config = ConfigDict(populate_by_name=True)

    query_id: str = Field(min_length=1, max_length=1024)
    document_id: str = Field(
        min_length=1, max_length=4096, validation_alias=AliasChoices("document_id", "object_id")
    )
    action: Literal["click", "save", "hide", "convert", "view"] = Field(
        validation_alias=AliasChoices("action", "action_name")
    )
    dwell_ms: float | None = Field(default=None, ge=0)
    user_id: str | None = Field(
        default=None, max_length=1024, validation_alias=AliasChoices("user_id", "client_id")
    )
    at: datetime | None = Field(default=None, validation_alias=AliasChoices("at", "timestamp"))
