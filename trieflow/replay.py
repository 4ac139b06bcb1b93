"""Dead letters go back: the same key and bytes, to the topic that they came from.

The place up to which letters were put back is committed as the offset of a consumer group, so a replay that is
interrupted goes on where it was. It is committed after Kafka has confirmed the records: a kill in between puts
some back twice, which the indexer answers with `unchanged`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.clients import reader
from streams.dead_letters import ATTEMPTS, ERROR_HEADER_PREFIX, TRUNCATED, is_error_header
from streams.errors import DataError
from streams.headers import Headers, IncomingHeaders
from streams.records import Record, raise_on_error
from streams.settings import Settings
from streams.topics import DLQ
from trieflow.offsets import ASK_TIMEOUT_S, first_and_end, partition_count, silent_broker
from trieflow.replies import CLIENT_CONFIG, RecordAddress
from trieflow.writer import Writer

MAX_ATTEMPTS = 5
"""A letter that failed so often stays: what fails so often needs another cure."""

_COMMIT_EVERY = 500
_POLL_S = 1.0


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter and what its headers say."""

    record: Record
    code: str
    message: str
    attempts: int
    home: str

    @classmethod
    def of(cls, record: Record, *, default_home: str) -> DeadLetter:
        """Read the headers; `default_home` is the topic to go to when they name none."""
        headers = record.incoming
        return cls(
            record=record,
            code=_text(headers, "exception") or "unknown",
            message=_text(headers, "message") or "",
            attempts=_number(headers.values.get(ATTEMPTS, b"")),
            home=_text(headers, "topic") or default_home,
        )

    def reason_to_leave(self, settings: Settings) -> str | None:
        """Why this letter cannot be put back; None when it can."""
        if self.attempts >= MAX_ATTEMPTS:
            return f"failed {self.attempts} times"
        if TRUNCATED in self.record.incoming.values:
            return "only its beginning was kept"
        if not self.home.startswith(settings.prefix):
            return f"came from {self.home}, which is not ours"
        return None

    def headers(self) -> Headers:
        """The original headers; the count of attempts stays."""
        return [
            (name, value)
            for name, value in self.record.headers
            if name == ATTEMPTS or not is_error_header(name)
        ]


@dataclass(frozen=True)
class Outcome:
    """What became of one dead letter: `written` where, or why it was left."""

    letter: DeadLetter
    written: RecordAddress | None
    left: str | None = None


def replay_dead_letters(
    settings: Settings,
    *,
    topic: str,
    code: str | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> int:
    """Put dead letters of `topic` (short name) back and return how many.

    Only those of `code` when it is given; each code has its own committed place. At most `limit` of them. A dry
    run writes and commits nothing. Raises BrokerError.
    """
    group = f"{settings.prefix}replay-{topic}" + (f"-{code}" if code else "")
    consumer = reader(settings, **CLIENT_CONFIG, **{"group.id": group})
    count = 0
    try:
        for partition in range(partition_count(consumer, settings, settings.topic(topic + DLQ))):
            place = TopicPartition(settings.topic(topic + DLQ), partition)
            replay = _Replay(settings, consumer, place, home=settings.topic(topic), on_outcome=on_outcome)
            left = None if limit is None else limit - count
            count += replay.run(code=code, limit=left, dry_run=dry_run)
    except KafkaException as error:
        raise silent_broker(settings, error) from error
    finally:
        consumer.close()
    return count


class _Replay:
    """The replay of one partition of dead letters."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        place: TopicPartition,
        *,
        home: str,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._place = place
        self._home = home
        self._on_outcome = on_outcome
        self._under_way: list[tuple[DeadLetter, Future[RecordAddress]]] = []

    def run(self, *, code: str | None, limit: int | None, dry_run: bool) -> int:
        count, next_offset = 0, -1
        writer = Writer(self._settings)
        try:
            for letter in self._letters():
                if limit is not None and count >= limit:
                    break
                next_offset = letter.record.offset + 1
                if code is not None and letter.code != code:
                    continue
                left = letter.reason_to_leave(self._settings)
                if left is not None:
                    self._on_outcome(Outcome(letter, None, left))
                    continue
                count += 1
                if dry_run:
                    self._on_outcome(Outcome(letter, None))
                    continue
                self._put_back(writer, letter)
                if len(self._under_way) >= _COMMIT_EVERY:
                    self._commit(next_offset)
            if next_offset >= 0 and not dry_run:
                self._commit(next_offset)
        finally:
            writer.close()
        return count

    def _letters(self) -> Iterator[DeadLetter]:
        """From the committed place (else the first) to what was the end when we began."""
        first, end = first_and_end(self._consumer, self._settings, self._place)
        asked = TopicPartition(self._place.topic, self._place.partition)
        committed = self._consumer.committed([asked], timeout=ASK_TIMEOUT_S)[0].offset
        start = max(first, committed)
        if start >= end:
            return
        self._consumer.assign([TopicPartition(asked.topic, asked.partition, start)])
        while True:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            if raise_on_error(message):
                return
            record = Record.of(message)
            if record.offset >= end:
                return
            yield DeadLetter.of(record, default_home=self._home)

    def _put_back(self, writer: Writer, letter: DeadLetter) -> None:
        record = letter.record
        try:
            sent = writer.send(letter.home, key=record.key, value=record.value, headers=letter.headers())
        except DataError as error:
            self._on_outcome(Outcome(letter, None, str(error)))
        else:
            self._under_way.append((letter, sent))

    def _commit(self, next_offset: int) -> None:
        """Wait until all that was put back is confirmed, then remember the place."""
        for letter, written in self._under_way:
            self._on_outcome(Outcome(letter, written.result()))
        self._under_way.clear()
        place = TopicPartition(self._place.topic, self._place.partition, next_offset)
        self._consumer.commit(offsets=[place], asynchronous=False)


def _number(text: bytes) -> int:
    """A count in a header; 0 when a stranger wrote something else there."""
    return int(text) if text.isdigit() and len(text) <= len(str(MAX_ATTEMPTS)) + 5 else 0


def _text(headers: IncomingHeaders, name: str) -> str | None:
    return headers.text(ERROR_HEADER_PREFIX + name)
