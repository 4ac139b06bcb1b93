"""A query as it came: its id, body, deadline and where the answer goes; and how answers and failures go back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agents.outbox import Outgoing
from streams.codec import decode_body, decode_key
from streams.dead_letters import dead_letter_headers
from streams.errors import DataError
from streams.events.base import ErrorDetail
from streams.events.impressions import Impression
from streams.events.queries import Query, Result
from streams.headers import DEADLINE, REPLY_TO, TYPES, Headers, cloud_event, derived_id
from streams.records import Record
from streams.settings import Settings
from streams.topics import DLQ

SOURCE = "trieflow/searcher"
NO_DEAD_LETTER = frozenset({"expired", "not_yet", "unknown_document", "incompatible_model"})
"""Failures of a well-formed query: its sender is told, an operator has nothing to mend."""


@dataclass(frozen=True)
class Ask:
    """A valid query. `deadline` is seconds since the epoch; `reply_to` a full topic name."""

    record: Record
    query_id: str
    query: Query
    deadline: float
    reply_to: str

    @property
    def remaining_s(self) -> float:
        return self.deadline - time.time()


def read_ask(record: Record, settings: Settings, *, topic_exists: Callable[[str], bool]) -> Ask:
    """Decode a query. Raises DataError: bad key or body, `bad_reply_to`, `expired`."""
    query_id = decode_key(record.key)
    headers = record.incoming
    reply_to = _reply_topic(headers.text(REPLY_TO), settings, topic_exists)
    deadline = _deadline(headers.text(DEADLINE), record, settings)
    if deadline <= time.time():
        raise DataError("expired", "the deadline passed before the query was read; send it again")
    query = decode_body(record.value or b"", model=Query, topic="queries", headers=headers)
    if query is None:
        raise DataError("schema", "a query has a body")
    return Ask(record, query_id, query, deadline, reply_to)


def _reply_topic(name: str | None, settings: Settings, topic_exists: Callable[[str], bool]) -> str:
    default = settings.topic("results")
    if name is None or name in ("results", default):
        return default
    if not name.startswith(default + "."):
        raise DataError(
            "bad_reply_to", f"reply-to may be {default} or a topic under {default}. ", field=REPLY_TO
        )
    if not topic_exists(name):
        raise DataError("bad_reply_to", f"there is no topic {name[:249]}", field=REPLY_TO)
    return name


def _deadline(text: str | None, record: Record, settings: Settings) -> float:
    if text is None:
        arrived = record.timestamp_ms / 1_000 if record.timestamp_ms > 0 else time.time()
        return arrived + settings.search.deadline_s
    try:
        return int(text) / 1_000
    except ValueError as error:
        raise DataError("schema", "the deadline is milliseconds since the epoch", field=DEADLINE) from error


def answer(ask: Ask, result: Result) -> Outgoing:
    """The record that answers a query."""
    return _result(ask.record, ask.query_id, result, ask.reply_to)


def impression(ask: Ask, shown: Impression, settings: Settings) -> Outgoing:
    """The record that says what was shown."""
    headers = cloud_event(
        event_type=TYPES["impressions"],
        source=SOURCE,
        event_id=_event_id(ask.record, "impression"),
        extra=ask.record.incoming.passed_on(),
    )
    return Outgoing(settings.topic("impressions"), ask.query_id.encode(), shown.to_json(), headers)


def failure(record: Record, error: DataError, settings: Settings) -> list[Outgoing]:
    """The records for a query that failed: the failed result, and a dead letter where something can be mended.

    A failure about `reply-to` goes to the default topic. A query without a usable key is answered in the
    partition that it came to, with an empty id and its correlation id.
    """
    try:
        query_id, partition = decode_key(record.key), None
    except DataError:
        query_id, partition = "", record.partition
    detail = ErrorDetail(code=error.code, message=error.message, field=error.field)
    reply_to = _usable_reply_topic(record, error, settings)
    outgoing = [_result(record, query_id, Result(query_id=query_id, error=detail), reply_to, partition)]
    if error.code not in NO_DEAD_LETTER:
        outgoing.append(_dead_letter(record, error))
    return outgoing


def _usable_reply_topic(record: Record, error: DataError, settings: Settings) -> str:
    name, default = record.incoming.text(REPLY_TO), settings.topic("results")
    if error.code in ("bad_reply_to", "bad_key") or name is None or not name.startswith(default + "."):
        return default
    return name


def _dead_letter(record: Record, error: DataError) -> Outgoing:
    headers = dead_letter_headers(
        original=record.headers,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        error=error,
        stage="answer",
    )
    return Outgoing(record.topic + DLQ, record.key, record.value, headers)


def _result(
    record: Record, query_id: str, result: Result, topic: str, partition: int | None = None
) -> Outgoing:
    headers: Headers = cloud_event(
        event_type=TYPES["results"],
        source=SOURCE,
        event_id=_event_id(record, "result"),
        extra=record.incoming.passed_on(),
    )
    return Outgoing(topic, query_id.encode() or None, result.to_json(), headers, partition)


def _event_id(record: Record, operation: str) -> str:
    return derived_id(
        topic=record.topic, partition=record.partition, offset=record.offset, operation=operation
    )
