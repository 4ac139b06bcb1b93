"""Kafka records as the agents see them, and reading a known range of a partition again."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.clients import reader
from streams.errors import BrokerError
from streams.headers import Headers, IncomingHeaders
from streams.settings import Settings

_READ_TIMEOUT_S = 30.0
_NO_END = 2**63 - 1
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
"""Of a topic that was just created, or whose leader just moved: known a moment later."""
_RETRY_S = 0.05
_BATCH = 500


@dataclass(frozen=True)
class Record:
    """One record. `topic` is the full name; `timestamp_ms` is milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    timestamp_ms: int = 0

    @property
    def incoming(self) -> IncomingHeaders:
        return IncomingHeaders.of(self.headers)

    @classmethod
    def of(cls, message: Message) -> Record:
        """A record from a librdkafka message."""
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=[(name, _bytes(value) or b"") for name, value in message.headers() or []],
            timestamp_ms=message.timestamp()[1],
        )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def raise_on_error(message: Message) -> bool:
    """True at the end of a partition, False for a record. Raises BrokerError for all other errors."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise BrokerError(f"cannot read {message.topic()}: {error.str()}")


def read_range(settings: Settings, *, topic: str, partition: int, start: int, end: int) -> list[Record]:
    """The records of [start, end) that still exist, in order (compaction leaves gaps).

    Raises BrokerError when the broker does not answer within 30 s.
    """
    batches = read_batches(settings, topic=topic, partition=partition, start=start, end=end)
    return list(chain.from_iterable(batches))


def read_to_end(
    settings: Settings, *, topic: str, partition: int, start: int
) -> Generator[list[Record], None, None]:
    """The committed records from `start` to the end that the partition has when it is reached, in batches.

    The last offset may be a commit marker that never arrives: the broker's own end-of-partition event counts.
    Raises BrokerError when the broker does not answer within 30 s.
    """
    return read_batches(settings, topic=topic, partition=partition, start=start, end=_NO_END)


def read_batches(
    settings: Settings, *, topic: str, partition: int, start: int, end: int, size: int = _BATCH
) -> Generator[list[Record], None, None]:
    """The records of [start, end) that still exist, in order, at most `size` at once; no batch is empty.

    Close it when you do not read it to its end. Raises BrokerError when the broker does not answer within 30 s.
    """
    if start >= end:
        return
    consumer = reader(settings)
    place = TopicPartition(topic, partition, start)
    try:
        consumer.assign([place])
        batch: list[Record] = []
        for record in _until(consumer, place, end=end):
            batch.append(record)
            if len(batch) >= size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        consumer.close()


def end_offset(settings: Settings, *, topic: str, partition: int) -> int:
    """The offset that the next committed record will have at the earliest. Raises BrokerError."""
    consumer = reader(settings)
    try:
        return first_and_end(consumer, TopicPartition(topic, partition), timeout_s=_READ_TIMEOUT_S)[1]
    except KafkaException as error:
        raise BrokerError(f"cannot read the end of {topic}: {error}") from error
    finally:
        consumer.close()


def first_and_end(consumer: Consumer, place: TopicPartition, *, timeout_s: float) -> tuple[int, int]:
    """The first offset that is kept and the next one to be written; waits while a partition has no leader.

    Raises KafkaException when Kafka does not answer, or still refuses after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            first, end = consumer.get_watermark_offsets(place, timeout=timeout_s, cached=False)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return int(first), int(end)


def committed_offset(settings: Settings, *, group: str, topic: str, partition: int) -> int:
    """What a consumer group has committed (the next offset to read), 0 when nothing. Raises BrokerError."""
    consumer = reader(settings, **{"group.id": group})
    try:
        answer = consumer.committed([TopicPartition(topic, partition)], timeout=_READ_TIMEOUT_S)
    except KafkaException as error:
        raise BrokerError(f"cannot read the offsets of {group}: {error}") from error
    finally:
        consumer.close()
    return max(0, int(answer[0].offset))


def _until(consumer: Consumer, place: TopicPartition, *, end: int) -> Iterator[Record]:
    deadline = time.monotonic() + _READ_TIMEOUT_S
    while True:
        message = consumer.poll(1.0)
        if time.monotonic() > deadline:
            raise BrokerError(_overdue(consumer, place))
        if message is None:
            continue
        if raise_on_error(message):
            return
        if (message.offset() or 0) >= end:
            return
        yield Record.of(message)
        deadline = time.monotonic() + _READ_TIMEOUT_S  # from here: whoever reads may have taken its time


def _overdue(consumer: Consumer, place: TopicPartition) -> str:
    """Why nothing came. To start beyond what transactions let one see is possible by a fault of Kafka's alone."""
    what = f"nothing came from partition {place.partition} of {place.topic} for {_READ_TIMEOUT_S:.0f} s"
    with suppress(KafkaException):
        _, end = first_and_end(consumer, place, timeout_s=5.0)
        if end < place.offset:
            return (
                f"{what}: a transaction at offset {end} that never ended hides what follows it, and what "
                f"stands before {place.offset} was confirmed (see docs/how-to/outside-kafka.md)"
            )
    return what
