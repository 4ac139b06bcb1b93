"""What all events share: frozen, tolerant to unknown fields, serialised as compact JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Event(BaseModel):
    """A message body. Frozen; unknown fields are dropped on reading; absent values are not written."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """Return the body as compact UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True, by_alias=True).encode()


class LogPosition(Event):
    """A place in a topic: `offset` (inclusive) of `partition`."""

    partition: int = Field(ge=0, lt=2**31)
    offset: int


class SourceAddress(LogPosition):
    """The address of the event that caused this one."""

    topic: str | None = None


class ErrorDetail(Event):
    """What went wrong, in a form that a program (`code`) and a person (`message`) can use."""

    code: str
    message: str
    field: str | None = None
