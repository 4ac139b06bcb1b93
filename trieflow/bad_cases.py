"""The report of `bad-cases`: how many of which kind, which queries most, what people clicked instead.

A case may be told several times: by a worker that was killed and began again, or because more is known of it. All
of these have one `ce_id`, and the last one counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from streams.clients import reader
from streams.events.bad_cases import BadCase
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.offsets import partition_count
from trieflow.replies import CLIENT_CONFIG

MOST = 20
"""Queries and documents that are listed."""
_INSTEAD = 3
_SHOWN = 3


@dataclass(frozen=True)
class BadQuery:
    """Queries that are equal, and what went wrong with them.

    text: their words, where some case has them. query_id: the newest one, for `trieflow replay answers`. shown: its
    first hits. clicked: what people clicked when they had said it in other words, and how often. rephrased: these
    words, where they are kept.
    """

    text: str | None
    query_id: str
    cases: int
    kinds: dict[str, int]
    shown: list[str]
    clicked: dict[str, int]
    rephrased: list[str]


@dataclass(frozen=True)
class BadDocument:
    """A document whose text and pictures disagree; `agreement` as in the event."""

    document_id: str
    title: str | None
    agreement: float


@dataclass(frozen=True)
class BadCaseReport:
    """`queries`: those with most cases first. `documents`: those that disagree most first. At most 20 of each."""

    since: datetime
    until: datetime
    counts: dict[str, int]
    queries: list[BadQuery]
    documents: list[BadDocument]


def read_report(
    settings: Settings,
    *,
    days: float,
    now: datetime | None = None,
    progress: Callable[[str, int | None], AbstractContextManager[Callable[[], None]]],
) -> BadCaseReport:
    """Read the topic and count. Raises BrokerError."""
    until = now or datetime.now(UTC)
    topic = settings.topic("bad-cases")
    consumer = reader(settings, **CLIENT_CONFIG)
    try:
        partitions = range(partition_count(consumer, settings, topic))
    finally:
        consumer.close()
    with progress("reading bad cases", None) as advance:
        cases = latest(_records(settings, topic, partitions, advance))
    return report_of(cases, since=until - timedelta(days=days), until=until)


def _records(
    settings: Settings, topic: str, partitions: Iterable[int], advance: Callable[[], None]
) -> Iterator[Record]:
    for partition in partitions:
        batches = read_to_end(settings, topic=topic, partition=partition, start=0)
        for record in chain.from_iterable(batches):
            advance()
            yield record


def latest(records: Iterable[Record]) -> list[BadCase]:
    """What is known of each case by now, less what was withdrawn. Records of a partition come in their order."""
    known = {record.incoming.text("ce_id"): record.value for record in records if record.value is not None}
    cases = map(BadCase.model_validate_json, known.values())
    return [case for case in cases if not case.withdrawn]


def report_of(cases: Sequence[BadCase], *, since: datetime, until: datetime) -> BadCaseReport:
    """Count the cases of a time."""
    recent = [case for case in cases if since <= case.at <= until]
    by_query = defaultdict[str, list[BadCase]](list)
    for case in recent:
        if case.query_id is not None:
            by_query[case.query or case.query_id].append(case)
    queries = sorted(map(_query, by_query.values()), key=lambda query: (-query.cases, query.query_id))
    documents = [
        BadDocument(case.document_id, case.title, case.agreement)
        for case in recent
        if case.document_id is not None and case.agreement is not None
    ]
    return BadCaseReport(
        since=since,
        until=until,
        counts=dict(Counter(case.kind for case in recent).most_common()),
        queries=queries[:MOST],
        documents=sorted(documents, key=lambda each: (each.agreement, each.document_id))[:MOST],
    )


def _query(cases: Sequence[BadCase]) -> BadQuery:
    newest = max(cases, key=lambda case: case.at)
    instead = Counter(chain.from_iterable(case.clicked for case in cases))
    rephrased = Counter(case.rephrased_text for case in cases if case.rephrased_text)
    return BadQuery(
        text=next((case.text for case in cases if case.text), None),
        query_id=str(newest.query_id),
        cases=len(cases),
        kinds=dict(Counter(case.kind for case in cases).most_common()),
        shown=newest.shown[:_SHOWN],
        clicked=dict(instead.most_common(_INSTEAD)),
        rephrased=[text for text, _ in rephrased.most_common(_INSTEAD)],
    )
