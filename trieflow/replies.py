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
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from confluent_kafka import TopicPartition

from streams.clients import reader
from streams.errors import BrokerError, TrieflowError
from streams.events.base import Event
from streams.headers import CORRELATION_ID
from streams.partitioner import partition_of
from streams.records import Record
from streams.settings import Settings
from trieflow.offsets import first_and_end, partition_count

KAFKA_LOG = logging.getLogger("trieflow.kafka")
"""Where librdkafka's own lines go (lost connections and the like); it reconnects by itself."""

CLIENT_CONFIG = {"logger": KAFKA_LOG, "reconnect.backoff.ms": 10}
"""For every client here. The default backoff of 100 ms also delays the very first connection."""

_POLL_S = 0.02
_IDLE_S = 0.1

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
    """Follows reply partitions from where they end when they are first asked for. Thread-safe.

    All calls of the consumer happen in one thread: while it polls, a call from another thread would wait for
    as long as polling goes on. So `follow` hands a request over, and a poll is short.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = reader(self._settings, **CLIENT_CONFIG, **{"enable.partition.eof": False})
        self._waiting: dict[str, Future[Record]] = {}
        self._requests: SimpleQueue[tuple[str, bytes, Future[None]]] = SimpleQueue()
        self._counts: dict[str, int] = {}
        self._followed: set[tuple[str, int]] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)
        self._thread.start()

    def follow(self, topic: str, key: bytes) -> None:
        """Read the partition of `key` from its present end on. Returns when that place is fixed.

        Raises BrokerError when the topic is missing or Kafka is silent.
        """
        count = self._counts.get(topic)
        if count is not None and (topic, partition_of(key, count)) in self._followed:
            return
        fixed: Future[None] = Future()
        self._requests.put((topic, key, fixed))
        fixed.result()

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
        closed = BrokerError("the client was closed before the answer came")
        while not self._requests.empty():
            self._requests.get()[2].set_exception(closed)
        for future in list(self._waiting.values()):
            settle(future, closed)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._serve_request()
            if not self._followed:
                continue
            message = self._consumer.poll(_POLL_S)
            if message is None:
                self._follow_another()
            elif message.error() is not None:
                KAFKA_LOG.warning("%s", message.error())
            else:
                self._hand_over(Record.of(message))

    def _serve_request(self) -> None:
        try:
            topic, key, fixed = self._requests.get(block=not self._followed, timeout=_IDLE_S)
        except Empty:
            return
        try:
            if topic not in self._counts:
                self._counts[topic] = partition_count(self._consumer, self._settings, topic)
            self._follow(topic, partition_of(key, self._counts[topic]))
        except TrieflowError as error:
            fixed.set_exception(error)
        else:
            fixed.set_result(None)

    def _follow(self, topic: str, partition: int) -> None:
        if (topic, partition) in self._followed:
            return
        place = TopicPartition(topic, partition)
        _, place.offset = first_and_end(self._consumer, self._settings, place)
        self._consumer.incremental_assign([place])
        self._followed.add((topic, partition))

    def _follow_another(self) -> None:
        """In a quiet moment take one more partition, so that a client that lives on finds all of them followed."""
        for topic, count in self._counts.items():
            for partition in range(count):
                if (topic, partition) not in self._followed:
                    try:
                        self._follow(topic, partition)
                    except TrieflowError as error:
                        KAFKA_LOG.warning("%s", error)
                    return

    def _hand_over(self, record: Record) -> None:
        key = record.incoming.text(CORRELATION_ID)
        future = self._waiting.get(key) if key is not None else None
        # A reply can come twice (the same ce_id); the first one counts.
        if future is not None:
            settle(future, record)


def settle(future: Future[Record], outcome: Record | Exception) -> None:
    """Set the outcome unless there is one; two threads may try."""
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass
