"""Writing records: one idempotent producer, and a future with the address of each record."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, Message

from streams.clients import MESSAGE_LIMIT, producer
from streams.errors import BrokerError, DataError
from streams.records import Record
from streams.settings import Settings
from trieflow.offsets import ASK_TIMEOUT_S
from trieflow.replies import CLIENT_CONFIG, RecordAddress

_POLL_S = 0.02


class Writer:
    """Writes to topics, confirms in its own thread. Thread-safe; records of a key keep their order."""

    def __init__(self, settings: Settings) -> None:
        self._producer = producer(settings, **CLIENT_CONFIG)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._confirm, name="confirmations", daemon=True)
        self._thread.start()

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> Future[RecordAddress]:
        """Write a record to `topic` (full name); the future has its address, or a BrokerError.

        Waits while the queue of the producer is full. Raises DataError `too_large`, BrokerError.
        """
        written: Future[RecordAddress] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                written.set_exception(
                    BrokerError(f"Kafka did not take the record for {topic}: {error.str()}")
                )
            else:
                written.set_result(RecordAddress.of(Record.of(message)))

        while True:
            try:
                self._producer.produce(topic, value, key, headers=list(headers), on_delivery=delivered)
            except BufferError:
                self._producer.poll(_POLL_S)
            except KafkaException as error:
                raise _refused(topic, error) from error
            else:
                return written

    def close(self) -> None:
        """Wait for the confirmations. Raises BrokerError when some do not come."""
        left = self._producer.flush(ASK_TIMEOUT_S)
        self._closing.set()
        self._thread.join()
        if left:
            raise BrokerError(f"{left} records were not confirmed by Kafka; send them again")

    def _confirm(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)


def _refused(topic: str, error: KafkaException) -> Exception:
    if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return DataError(
            "too_large", f"the record is larger than {MESSAGE_LIMIT} bytes; send large content by URL"
        )
    return BrokerError(f"cannot write to {topic}: {error}")
