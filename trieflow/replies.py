"""Request and reply over topics: one reader follows the reply partitions and wakes who waits.

A reply is recognised by its `correlation-id` header, which every output repeats from its input. The number is
handed out before the request is sent, so a reply can never come too early to be recognised.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Generic, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.clients import reader
from streams.errors import BrokerError, TrieflowError
from streams.events.base import Event
from streams.headers import CORRELATION_ID
from streams.records import Record
from streams.settings import Settings

KAFKA_LOG = logging.getLogger("trieflow.kafka")
"""Where librdkafka's own lines go (lost connections and the like); it reconnects by itself."""

ASK_TIMEOUT_S = 10.0
"""For questions that a healthy cluster answers at once: metadata, end offsets, confirmations."""

_POLL_S = 0.1

E = TypeVar("E", bound=Event)


class NoAnswerError(TrieflowError, TimeoutError):
    """No answer in time. What was sent is in Kafka and stays there; the message says where to look."""


@dataclass(frozen=True)
class RecordAddress:
    """Where a record stands in Kafka. `topic` is the full name."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, record: Record) -> RecordAddress:
        return cls(record.topic, record.partition, record.offset)

    def __str__(self) -> str:
        return f"{self.topic} partition {self.partition} offset {self.offset}"


class Pending(Generic[E]):
    """A request that was sent: where it was written, and its reply when it has come."""

    def __init__(
        self,
        key: str,
        *,
        written: Future[RecordAddress],
        reply: Future[Record],
        decode: Callable[[Record], E],
        default_timeout_s: float,
    ) -> None:
        self.key = key
        self._written = written
        self._reply = reply
        self._decode = decode
        self._default_timeout_s = default_timeout_s

    def address(self) -> RecordAddress:
        """Where the request stands; waits for Kafka's confirmation. Raises BrokerError."""
        return self._written.result()

    def result(self, timeout: float | None = None) -> E:
        """The reply. `timeout` in seconds. Raises BrokerError, and NoAnswerError: then it is given up."""
        seconds = self._default_timeout_s if timeout is None else timeout
        try:
            record = self._reply.result(seconds)
        except (FutureTimeoutError, CancelledError):
            self._reply.cancel()
            raise NoAnswerError(
                f"no answer for {self.key!r} within {seconds:g} s ({self._where()}). "
                f"Is a worker running? `trieflow status` shows lag and health"
            ) from None
        return self._decode(record)

    def reply_address(self) -> RecordAddress:
        """Where the reply stands. Call it after `result`."""
        return RecordAddress.of(self._reply.result(0))

    def on_done(self, call: Callable[[Pending[E]], None]) -> None:
        """Call back from the reader's thread once the reply (or a failure to send) is there."""
        self._reply.add_done_callback(lambda _: call(self))

    def _where(self) -> str:
        if self._written.done() and self._written.exception() is None:
            return f"asked in {self._written.result()}"
        return "Kafka has not confirmed the request yet"


class ReplyReader:
    """Follows reply partitions from where they end when first asked for. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = reader(settings, **{"enable.partition.eof": False, "logger": KAFKA_LOG})
        self._waiting: dict[str, Future[Record]] = {}
        self._counts: dict[str, int] = {}
        self._followed: set[tuple[str, int]] = set()
        self._following = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)
        self._thread.start()

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises BrokerError when it is missing or Kafka is silent."""
        if topic not in self._counts:
            self._counts[topic] = topic_partitions(self._consumer, self._settings, topic)
        return self._counts[topic]

    def follow(self, topic: str, partition: int) -> None:
        """Read a partition from its present end. Returns when that place is fixed. Raises BrokerError."""
        with self._following:
            if (topic, partition) in self._followed:
                return
            place = TopicPartition(topic, partition)
            try:
                _, place.offset = self._consumer.get_watermark_offsets(
                    place, timeout=ASK_TIMEOUT_S, cached=False
                )
                self._consumer.incremental_assign([place])
            except KafkaException as error:
                raise silent_broker(self._settings, error) from error
            self._followed.add((topic, partition))

    def expect(self, correlation_id: str) -> Future[Record]:
        """The reply to come. Ask before sending."""
        future: Future[Record] = Future()
        self._waiting[correlation_id] = future
        # However the wait ends, nothing of it stays here.
        future.add_done_callback(lambda _: self._waiting.pop(correlation_id, None))
        return future

    def close(self) -> None:
        """Stop reading; who still waits gets a BrokerError."""
        self._closing.set()
        self._thread.join()
        self._consumer.close()
        for future in list(self._waiting.values()):
            settle(future, BrokerError("the client was closed before the answer came"))

    def _run(self) -> None:
        while not self._closing.is_set():
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            if message.error() is not None:
                KAFKA_LOG.warning("%s", message.error())
                continue
            self._hand_over(Record.of(message))

    def _hand_over(self, record: Record) -> None:
        key = record.incoming.text(CORRELATION_ID)
        future = self._waiting.get(key) if key is not None else None
        # A reply can come twice (the same ce_id); the first one counts.
        if future is not None:
            settle(future, record)


def topic_partitions(client: Consumer, settings: Settings, topic: str) -> int:
    """How many partitions a topic has. Raises BrokerError when it is missing or Kafka is silent."""
    try:
        metadata = client.list_topics(topic, timeout=ASK_TIMEOUT_S).topics.get(topic)
    except KafkaException as error:
        raise silent_broker(settings, error) from error
    if metadata is None or metadata.error is not None or not metadata.partitions:
        raise BrokerError(
            f"topic {topic} is missing at {settings.brokers}: start the system by `trieflow up`, "
            f"or create the topics by `trieflow topics create`"
        )
    return len(metadata.partitions)


def settle(future: Future[Record], outcome: Record | Exception) -> None:
    """Set the outcome unless there is one; two threads may try."""
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass


def silent_broker(settings: Settings, error: KafkaException) -> BrokerError:
    """The error to raise when Kafka does not answer."""
    return BrokerError(f"no answer from Kafka at {settings.brokers}: {error}. Run `trieflow doctor`")
