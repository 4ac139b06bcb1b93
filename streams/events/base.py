"""What all events share: frozen, tolerant to unknown fields, serialised as compact JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema


def _whole(value: object) -> object:
    """JSON knows no difference between 5 and 5.0; but true is no 1, and a text is no number."""
    if isinstance(value, bool | str):
        raise ValueError("a whole number, as 5, not a text or true or false")
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Version = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_whole)]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Timestamp = Annotated[
    datetime,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": -62_135_596_800_000, "maximum": 253_402_300_799_999},
            ]
        },
        mode="validation",
    ),
]
"""RFC 3339 text (without an offset it is UTC), or seconds since the epoch (milliseconds above 2e10)."""


class Event(BaseModel):
    """A message body. Frozen; unknown fields are dropped on reading; absent values are not written.

    The docstring under a field is its description in the schema. Fields that strangers write have the types
    above, so that what is accepted is what the schema says and no more.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_inf_nan="null",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> bytes:
        """Return the body as compact UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True, by_alias=True).encode()


class LogPosition(Event):
    """A place in a topic."""

    partition: Whole = Field(ge=0, lt=2**31)
    """Number of the partition, from 0."""
    offset: Whole = Field(ge=-(2**63), lt=2**63)
    """Offset in that partition, inclusive."""


class SourceAddress(LogPosition):
    """The address of the record that caused this event."""

    topic: str | None = None
    """Full name of the topic, with the prefix."""


class ErrorDetail(Event):
    """What went wrong, in a form that a program (`code`) and a person (`message`) can use."""

    code: str
    """The kind of error. New codes may come; the known ones are listed in docs/reference/errors.md."""
    message: str
    """For people. Not stable."""
    field: str | None = None
    """Path of the field at fault, as `images.0.url`; or the name of the header."""
