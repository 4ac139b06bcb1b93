"""`training`: requests to train an adapter, and how far each one is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from streams.events.base import Event
from streams.events.models import Verdict

Reason = Literal["clicks", "schedule", "documents", "command"]
Stage = Literal["reading", "encoding", "training", "judging", "done", "failed", "overtaken"]
ENDED: frozenset[Stage] = frozenset({"done", "failed", "overtaken"})


class OffsetRange(Event):
    """A part of one partition."""

    topic: str
    """Without the prefix."""
    partition: int
    """Its number."""
    start: int
    """The first offset."""
    end: int
    """Behind the last one."""


class TrainingRequest(Event):
    """Asks for an adapter from these impressions and this feedback. Key: the run."""

    kind: Literal["request"] = "request"
    """Tells it from the other events of the topic."""
    run: str
    """Its name."""
    reason: Reason
    """What asked: so many clicks, the schedule, so many documents, or somebody."""
    window: list[OffsetRange]
    """What is learned from, as offsets: the same window gives the same adapter."""
    at: datetime
    """When it was asked for."""


class TrainingProgress(Event):
    """How far a run is; the newest of a run counts. Key: the run."""

    kind: Literal["progress"] = "progress"
    """Tells it from the other events of the topic."""
    run: str
    """The request that it belongs to."""
    stage: Stage
    """What is being done; `done`, `failed` and `overtaken` (by a newer request) are the last ones."""
    done: float = Field(default=0.0, ge=0, le=1)
    """The share of the stage that is done."""
    seconds_left: float | None = None
    """Until the stage ends, where that is known."""
    version: str | None = None
    """With `done`: the version of the adapter."""
    verdict: Verdict | None = None
    """With `done`: what the gates said."""
    message: str = ""
    """For people: what the gates said, or why it failed and what to do."""
    at: datetime
    """When."""


TrainingEvent = Annotated[TrainingRequest | TrainingProgress, Field(discriminator="kind")]
TRAINING_EVENT: TypeAdapter[TrainingRequest | TrainingProgress] = TypeAdapter(TrainingEvent)
"""Reads a value of the topic."""
