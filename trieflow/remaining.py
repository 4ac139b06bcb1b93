"""What a forgotten user or document leaves in Kafka, and until when: by the settings that the topics have there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from streams.settings import Settings
from trieflow.cluster import Cluster

OF_USER: Sequence[tuple[str, str]] = (
    ("queries", "queries with the user id as it was sent"),
    ("feedback", "feedback with the user id where it was sent along"),
    ("impressions", "what was shown, by a hash that nobody can link to the user any more"),
    ("forget", "that hash, in the request"),
    ("queries.dlq", "queries that could not be used, as they were sent"),
    ("feedback.dlq", "feedback that could not be used, as it was sent"),
    ("user-salts", "the salt, unread by consumers"),
    ("click-memory", "earlier sums of queries, unread by consumers; no user"),
    ("profiles", "what the user chose, by that hash, unread by consumers"),
)
OF_DOCUMENT: Sequence[tuple[str, str]] = (
    ("documents", "the document, unread by consumers"),
    ("assignments", "the document as it was indexed, unread by consumers"),
    ("click-memory", "its clicks, unread by consumers"),
    ("profiles", "its id where users chose it, unread by consumers"),
    ("receipts", "its id"),
    ("results", "its id, title and fields in answers"),
    ("queries", "its id where somebody asked for what is like it"),
    ("impressions", "its id in what was shown, and in what somebody had chosen before"),
    ("feedback", "its id in what was clicked"),
    ("forget", "its id, in the request"),
    ("documents.dlq", "what of it could not be used, as it was sent"),
    ("feedback.dlq", "feedback that could not be used, as it was sent"),
)
_CHECKED = timedelta(minutes=5)
"""How often a broker looks for what has expired: `log.retention.check.interval.ms`, by default."""


class Remaining(BaseModel):
    """What stays in a topic. until: Kafka has dropped it by then; None: not by itself.

    needs_writes: of a compacted topic, that something else has to be written to the partition after it.
    key_until: of a compacted topic, when the key of the tombstone goes too.
    """

    topic: str
    holds: str
    until: datetime | None
    needs_writes: bool = False
    key_until: datetime | None = None


def remaining_of_user(settings: Settings) -> list[Remaining]:
    """What a user who is forgotten now leaves. Raises BrokerError."""
    return _remaining(settings, OF_USER)


def remaining_of_document(settings: Settings) -> list[Remaining]:
    """What a document that is forgotten now leaves. Raises BrokerError."""
    return _remaining(settings, OF_DOCUMENT)


def _remaining(settings: Settings, topics: Sequence[tuple[str, str]]) -> list[Remaining]:
    configs = Cluster(settings).topic_settings([settings.topic(name) for name, _ in topics])
    now = datetime.now(UTC)
    return [
        left_in(settings.topic(name), holds, configs[settings.topic(name)], now) for name, holds in topics
    ]


def left_in(topic: str, holds: str, config: Mapping[str, str], now: datetime) -> Remaining:
    """What a topic with these settings keeps of what was written, or deleted by its key, just now."""
    if "compact" in config["cleanup.policy"]:
        gone = _later(now, config["max.compaction.lag.ms"])
        key_until = None if gone is None else _later(gone, config["delete.retention.ms"])
        return Remaining(topic=topic, holds=holds, until=gone, needs_writes=True, key_until=key_until)
    # A segment goes as a whole, when its newest record has expired.
    closed = _later(now, config["segment.ms"])
    gone = None if closed is None else _later(closed, config["retention.ms"])
    return Remaining(topic=topic, holds=holds, until=None if gone is None else gone + _CHECKED)


def _later(start: datetime, milliseconds: str) -> datetime | None:
    """None for never: -1, or more than a calendar holds."""
    try:
        return start + timedelta(milliseconds=int(milliseconds)) if int(milliseconds) >= 0 else None
    except OverflowError:
        return None
