"""CloudEvents 1.0 in Kafka (binary in and out, structured accepted on input); trace and reply headers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

Headers = list[tuple[str, bytes]]

NAMESPACE = uuid.UUID("6f0f7a52-7f64-5c1b-9d0e-2f3a1c7b9e44")
STRUCTURED = "application/cloudevents+json"
CORRELATION_ID, REPLY_TO, DEADLINE = "correlation-id", "reply-to", "deadline"
_PASSED_ON = ("traceparent", "tracestate", CORRELATION_ID)
PASSED_ON_LIMIT = 1_024
"""Bytes of a header that outputs repeat. A longer one stays behind, or one event could outgrow our topics."""

TYPES: Mapping[str, str] = {
    "documents": "trieflow.document.published.v1",
    "receipts": "trieflow.document.receipt.v1",
    "assignments": "trieflow.document.assigned.v1",
    "codebooks": "trieflow.codebook.changed.v1",
    "models": "trieflow.model.changed.v1",
    "moves": "trieflow.document.move.v1",
    "queries": "trieflow.query.asked.v1",
    "results": "trieflow.query.answered.v1",
    "impressions": "trieflow.query.shown.v1",
    "feedback": "trieflow.feedback.given.v1",
    "click-memory": "trieflow.click-memory.changed.v1",
    "training": "trieflow.training.changed.v1",
    "profiles": "trieflow.profile.changed.v1",
    "user-salts": "trieflow.user-salt.made.v1",
    "forget": "trieflow.forget.asked.v1",
    "forgotten": "trieflow.forget.done.v1",
    "bad-cases": "trieflow.bad-case.noted.v1",
}
"""The CloudEvents type of each topic; implied when a plain producer sends no headers."""
DELETED = "trieflow.document.deleted.v1"
ACCEPTED_TYPES: Mapping[str, frozenset[str]] = {
    name: frozenset({kind, DELETED} if name in ("documents", "assignments") else {kind})
    for name, kind in TYPES.items()
}


@dataclass(frozen=True)
class IncomingHeaders:
    """The headers of a record that mean something to us.

    The first of equal names counts; a null or empty value is as no header.
    """

    values: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, headers: Iterable[tuple[str, bytes | str | None]] | Mapping[str, bytes] | None
    ) -> IncomingHeaders:
        items = headers.items() if isinstance(headers, Mapping) else headers or ()
        values: dict[str, bytes] = {}
        for name, value in items:
            if value:
                values.setdefault(name.lower(), value.encode() if isinstance(value, str) else bytes(value))
        return cls(values)

    def text(self, name: str) -> str | None:
        """The value of a header as text; bytes that are not UTF-8 are replaced, never an error."""
        value = self.values.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    @property
    def is_structured(self) -> bool:
        return (self.text("content-type") or "").split(";")[0].strip().lower() == STRUCTURED

    @property
    def event_type(self) -> str | None:
        return self.text("ce_type")

    def passed_on(self) -> Headers:
        """Trace and correlation headers, which every output repeats."""
        kept = [(name, self.values[name]) for name in _PASSED_ON if name in self.values]
        return [(name, value) for name, value in kept if len(value) <= PASSED_ON_LIMIT]


def derived_id(*, topic: str, partition: int, offset: int, operation: str) -> str:
    """The deterministic id (UUIDv5) of an event derived from an input: equal when it is made twice."""
    return str(uuid.uuid5(NAMESPACE, f"{topic}/{partition}/{offset}/{operation}"))


def subject_id(kind: str, subject: str) -> str:
    """The id (UUIDv5) of an event that says all there is about a subject: equal each time that it is told."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{subject}"))


def cloud_event(
    *, event_type: str, source: str, event_id: str | None = None, extra: Iterable[tuple[str, bytes]] = ()
) -> Headers:
    """The headers of an outgoing event, CloudEvents binary mode. `source` names the role that writes it."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", (event_id or str(uuid.uuid4())).encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
        ("content-type", b"application/json"),
        *extra,
    ]


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
