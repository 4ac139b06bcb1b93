"""Finding an old answer: what was asked, what was shown for it, and from which positions of the logs.

The impression says most and is kept longest. A probe has none: then the result says it, as long as it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from confluent_kafka import Consumer

from streams.clients import reader
from streams.codec import decode_body
from streams.errors import BrokerError, TrieflowError
from streams.events.assignments import StampedVector
from streams.events.base import LogPosition
from streams.events.impressions import Impression
from streams.events.models import ADAPTER_MODEL
from streams.events.queries import Query, Result, SearchMode, Unsure
from streams.headers import REPLY_TO, derived_id
from streams.partitioner import partition_of
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.offsets import partition_count
from trieflow.replies import CLIENT_CONFIG

Advance = Callable[[], None]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""What is being read and how many records that are, to what is called for each."""


class GoneError(TrieflowError):
    """What an answer was made from is not kept any more. The message says what that is, and for how long it is."""


class NoHitsError(TrieflowError):
    """The query was answered, but not by hits: there is nothing to compare."""


class Shown(NamedTuple):
    """A hit as it was shown."""

    document_id: str
    position: int
    score: float


@dataclass(frozen=True)
class OldAnswer:
    """An answer as it was given. `fresh_until` is None where no record of the log came in during the search;
    `unknown_words` and `history` are None where nothing tells them."""

    query_id: str
    query: Query
    record: Record
    shown: Sequence[Shown]
    stamp: str | None
    mode: SearchMode | None
    epoch: int
    fresh_to: Sequence[LogPosition]
    fresh_until: Sequence[LogPosition] | None
    codebook_offset: int
    memory_offset: int
    bundle: str | None
    unsure: Unsure | None
    at_ms: int
    behind: Mapping[str, int] = field(default_factory=dict)
    query_vector: StampedVector | None = None
    unknown_words: Sequence[str] | None = None
    history: Sequence[str] | None = None
    random_pairs: Sequence[int] = ()
    adapters: Sequence[str] = ()
    """`name@version` of those that moved the query: of an interleaved answer, of the incumbent first."""
    interleaved: bool = False

    @classmethod
    def of_impression(cls, query: Query, record: Record, impression: Impression) -> OldAnswer:
        return cls(
            query_id=impression.query_id,
            query=query,
            record=record,
            shown=[Shown(hit.document_id, hit.position, hit.score) for hit in impression.shown],
            stamp=impression.models[0] if impression.models else None,
            mode=impression.mode,
            epoch=impression.epoch,
            fresh_to=impression.fresh_to,
            fresh_until=impression.fresh_until,
            codebook_offset=impression.codebook_offset,
            memory_offset=impression.memory_offset,
            bundle=impression.bundle,
            unsure=impression.unsure,
            at_ms=int(impression.at.timestamp() * 1_000),
            behind=impression.behind or {},
            query_vector=impression.query_vector,
            unknown_words=impression.unknown_words,
            history=impression.history,
            random_pairs=impression.random_pairs,
            adapters=_adapters(impression.models),
            interleaved=impression.arm == "interleaved",
        )

    @classmethod
    def of_result(cls, query: Query, record: Record, result: Result, *, at_ms: int) -> OldAnswer:
        """Raises NoHitsError for a failure, and for branches."""
        if result.hits is None:
            told = f"by the failure {result.error.code}" if result.error else "by branches of the tree"
            raise NoHitsError(f"query {result.query_id} was answered {told}: there are no hits to compare")
        return cls(
            query_id=result.query_id,
            query=query,
            record=record,
            shown=[Shown(hit.document_id, hit.position, hit.score) for hit in result.hits],
            stamp=result.model_version,
            mode=result.mode,
            epoch=result.epoch or 0,
            fresh_to=result.fresh_to or (),
            fresh_until=result.fresh_until,
            codebook_offset=-1 if result.codebook_offset is None else result.codebook_offset,
            memory_offset=-1 if result.memory_offset is None else result.memory_offset,
            bundle=result.bundle,
            unsure=result.unsure,
            at_ms=at_ms,
            adapters=_adapters(result.models or ()),
            behind=result.behind or {},
        )


def find_answer(settings: Settings, query_id: str, *, progress: Progress) -> OldAnswer:
    """The answer to a query, from `queries`, `impressions` and `results`.

    Of several impressions the first counts, as in the learner. Raises GoneError, NoHitsError, BrokerError.
    """
    consumer = reader(settings, **CLIENT_CONFIG)
    try:
        return _Topics(settings, consumer, query_id, progress).answer()
    finally:
        consumer.close()


class _Topics:
    """Looks for the records of one query id."""

    def __init__(self, settings: Settings, consumer: Consumer, query_id: str, progress: Progress) -> None:
        self._settings = settings
        self._consumer = consumer
        self._query_id = query_id
        self._key = query_id.encode()
        self._progress = progress

    def answer(self) -> OldAnswer:
        shown = next(self._keyed("impressions"), None)
        if shown is not None:
            asked = self._asked(_id_of(shown), "impression")
            impression = Impression.model_validate_json(shown.value or b"")
            return OldAnswer.of_impression(self._query(asked), asked, impression)
        asked = self._asked(None, "result")
        place = derived_id(
            topic=asked.topic, partition=asked.partition, offset=asked.offset, operation="result"
        )
        told = next((each for each in self._results(asked) if _id_of(each) == place), None)
        if told is None:
            raise GoneError(
                f"nothing says any more what query {self._query_id} was answered: it has no impression, and "
                f"`results` is kept for {self._settings.retention.queries_h:g} hours (retention.queries_h)"
            )
        result = Result.model_validate_json(told.value or b"")
        return OldAnswer.of_result(self._query(asked), asked, result, at_ms=told.timestamp_ms)

    def _asked(self, caused: str | None, operation: str) -> Record:
        """The query that caused the event of this id; the first of its key where that is not known."""
        keyed = partition_of(self._key, self._count("queries"))
        others = (number for number in range(self._count("queries")) if number != keyed)
        for record in self._records(self._settings.topic("queries"), [keyed, *others]):
            derived = derived_id(
                topic=record.topic, partition=record.partition, offset=record.offset, operation=operation
            )
            if caused in (None, derived):
                return record
        raise GoneError(
            f"`queries` does not hold query {self._query_id}: it keeps what was asked for "
            f"{self._settings.retention.queries_h:g} hours (retention.queries_h)"
        )

    def _query(self, asked: Record) -> Query:
        query = decode_body(asked.value or b"", model=Query, topic="queries", headers=asked.incoming)
        if query is None:
            raise NoHitsError(f"query {self._query_id} has no body")
        return query

    def _results(self, asked: Record) -> Iterator[Record]:
        """Of the reply topic, and of `results`, where what went wrong with it is told."""
        named = asked.incoming.text(REPLY_TO)
        if named is not None and named.startswith(self._settings.topic("results") + "."):
            try:
                count = partition_count(self._consumer, self._settings, named)
            except BrokerError:  # whoever made it has deleted it
                return
            yield from self._records(named, [partition_of(self._key, count)])
        yield from self._keyed("results")

    def _keyed(self, name: str) -> Iterator[Record]:
        partition = partition_of(self._key, self._count(name))
        return self._records(self._settings.topic(name), [partition])

    def _records(self, topic: str, partitions: Iterable[int]) -> Iterator[Record]:
        with self._progress(f"looking through {topic}", None) as advance:
            for partition in partitions:
                batches = read_to_end(self._settings, topic=topic, partition=partition, start=0)
                for record in chain.from_iterable(batches):
                    advance()
                    if record.key == self._key:
                        yield record

    def _count(self, name: str) -> int:
        return partition_count(self._consumer, self._settings, self._settings.topic(name))


def _id_of(record: Record) -> str | None:
    return record.incoming.text("ce_id")


def _adapters(models: Sequence[str]) -> list[str]:
    return [name for name in models if name.startswith(f"{ADAPTER_MODEL}@")]
