"""A query as it came: its id, body, deadline and where the answer goes; and how answers and failures go back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from agents.outbox import Outgoing, RefusedError
from streams.codec import decode_body, decode_key
from streams.dead_letters import dead_letter
from streams.errors import DataError
from streams.events.base import ErrorDetail
from streams.events.impressions import Impression
from streams.events.queries import Query, Result
from streams.headers import DEADLINE, REPLY_TO, TYPES, Headers, cloud_event, derived_id
from streams.records import Record
from streams.settings import KIB, MIB, Settings
from streams.topics import DLQ

SOURCE = "trieflow/searcher"
NO_DEAD_LETTER = frozenset({"expired", "not_yet", "unknown_document", "incompatible_model"})
"""Failures of a well-formed query: its sender is told, an operator has nothing to mend."""
ANSWER_LIMIT = 3 * MIB + 512 * KIB
"""Bytes of an answer, or of an impression; their topics take a little more."""
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


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
    # Clients differ in what they do with names that Kafka forbids: none of them may see one.
    if not _TOPIC_NAME.fullmatch(name) or not topic_exists(name):
        raise DataError("bad_reply_to", f"there is no topic {name[:249]}", field=REPLY_TO)
    return name


def _deadline(text: str | None, record: Record, settings: Settings) -> float:
    if text is None:
        arrived = record.timestamp_ms / 1_000 if record.timestamp_ms > 0 else time.time()
        return arrived + settings.search.deadline_s
    try:
        return int(text) / 1_000
    except (ValueError, OverflowError) as error:
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


def checked(outgoing: list[Outgoing]) -> list[Outgoing]:
    """What is to be written; raises DataError `too_large` for an answer that its topic would not take."""
    if any(len(each.value or b"") > ANSWER_LIMIT for each in outgoing):
        raise DataError(
            "too_large", f"the answer is over {ANSWER_LIMIT} bytes; ask for fewer hits", field="top_k"
        )
    return outgoing


def not_taken(record: Record, refusal: RefusedError, settings: Settings) -> list[Outgoing]:
    """The failure for an answer that the reply topic refused. Raises `refusal` when that topic is our own."""
    if _reply_name(record) in (None, "results", settings.topic("results")):
        raise refusal
    error = DataError("bad_reply_to", f"the topic does not take the answer: {refusal}", field=REPLY_TO)
    return failure(record, error, settings)


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
    name, default = _reply_name(record), settings.topic("results")
    if error.code in ("bad_reply_to", "bad_key") or name is None or not name.startswith(default + "."):
        return default
    return name


def _reply_name(record: Record) -> str | None:
    return record.incoming.text(REPLY_TO)


def _dead_letter(record: Record, error: DataError) -> Outgoing:
    key, value, headers = dead_letter(record, error, stage="answer")
    return Outgoing(record.topic + DLQ, key, value, headers)


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
