"""A writer of which there is one: its transactions fence every earlier one of the same name (KIP-98)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer

from agents import crash_points
from agents.outbox import Outgoing
from streams.clients import transactional_producer
from streams.errors import BrokerError, FencedError
from streams.settings import Settings

T = TypeVar("T")

_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
_FENCE_S = 60.0


class FencedWriter:
    """Owns a transactional id. Raises FencedError when another process owns it now, BrokerError when Kafka did not
    take a batch in time.

    Guarantee: `write` writes everything or nothing that a `read_committed` reader can see.
    """

    def __init__(self, settings: Settings, *, transactional_id: str) -> None:
        self._timeout_s = settings.indexer.transaction_timeout_s
        self._producer: Producer = transactional_producer(
            settings, transactional_id=transactional_id, timeout_s=self._timeout_s
        )
        call(lambda: self._producer.init_transactions(_FENCE_S))

    def write(self, records: Sequence[Outgoing]) -> None:
        """All of them in one transaction."""
        if not records:
            return
        call(self._producer.begin_transaction)
        for record in records:
            place = {} if record.partition is None else {"partition": record.partition}
            produce(
                self._producer,
                record.topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                **place,
            )
        if __debug__:
            crash_points.reached("in-transaction")
        call(lambda: self._producer.commit_transaction(self._timeout_s))


def produce(producer: Producer, topic: str, **message: object) -> None:
    """Hand a record over; waits while the producer's queue is full."""
    while True:
        try:
            with translated():
                producer.produce(topic, **message)
                producer.poll(0)
            return
        except BufferError:
            call(lambda: producer.poll(0.1))


def call(step: Callable[[], T]) -> T:
    """A step of a transaction, with our exceptions."""
    with translated():
        return step()


@contextmanager
def translated() -> Iterator[None]:
    """The client's exceptions as ours."""
    try:
        yield
    except KafkaException as error:
        raise refused(error.args[0]) from error
    except SystemError as error:
        # The client raises a fatal error in the middle of whatever it calls back just then.
        if not isinstance(error.__cause__, KafkaException):
            raise
        raise refused(error.__cause__.args[0]) from error


def refused(error: KafkaError | None) -> FencedError | BrokerError:
    """What a refusal means."""
    if error is None:
        return BrokerError("Kafka did not confirm a batch in time; it is tried again after a restart")
    if error.code() in _FENCED:
        return FencedError("another process owns this partition now")
    return BrokerError(f"Kafka refused a batch: {error.str()}")
