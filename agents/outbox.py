"""Writing answers: an idempotent producer whose deliveries are awaited on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message

from streams.clients import producer
from streams.errors import BrokerError
from streams.headers import Headers
from streams.settings import Settings


@dataclass(frozen=True)
class Outgoing:
    """A record to write. Without `partition` the key decides (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class RefusedError(BrokerError):
    """Kafka will never take this record: too large for its topic, not allowed, or no such topic."""


_REFUSALS = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_RECORD,
}


class Outbox:
    """`send` returns when the brokers have confirmed every record. Raises BrokerError when they have not,
    RefusedError when they never will.

    Guarantee: at least once; the broker drops what the producer itself repeats (idempotence, KIP-98).
    """

    def __init__(self, settings: Settings) -> None:
        self._producer = producer(settings)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="outbox", daemon=True)
        self._thread.start()

    async def send(self, records: Sequence[Outgoing]) -> None:
        loop = asyncio.get_running_loop()
        deliveries = [self._produce(record, loop) for record in records]
        await asyncio.gather(*deliveries)

    def topic_exists(self, name: str) -> bool:
        """Ask the cluster. Blocks for a round trip."""
        try:
            metadata = self._producer.list_topics(name, timeout=5.0).topics.get(name)
        except KafkaException as error:
            raise BrokerError(f"no answer from Kafka: {error}") from error
        return metadata is not None and metadata.error is None

    def close(self) -> None:
        self._producer.flush(5.0)
        self._stopping.set()
        self._thread.join()

    def _produce(self, record: Outgoing, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        delivery: asyncio.Future[None] = loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(_settle, delivery, error, record.topic)

        place = {} if record.partition is None else {"partition": record.partition}
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                    on_delivery=delivered,
                    **place,
                )
                return delivery
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise _translated(error.args[0], record.topic) from error

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)


def _settle(delivery: asyncio.Future[None], error: KafkaError | None, topic: str) -> None:
    if delivery.done():
        return
    if error is None:
        delivery.set_result(None)
    else:
        delivery.set_exception(_translated(error, topic))


def _translated(error: KafkaError, topic: str) -> BrokerError:
    kind = RefusedError if error.code() in _REFUSALS else BrokerError
    return kind(f"cannot write to {topic}: {error.str()}")
