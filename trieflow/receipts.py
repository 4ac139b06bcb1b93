"""Finding the receipt of a document, also one that was written long before we looked."""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, TopicPartition

from streams.clients import reader
from streams.codec import decode_body
from streams.events.documents import Receipt
from streams.partitioner import partition_of
from streams.records import Record, raise_on_error
from streams.settings import Settings
from trieflow.offsets import first_and_end, partition_count
from trieflow.replies import CLIENT_CONFIG, NoAnswerError


def find_receipt(settings: Settings, document_id: str, *, offset: int | None, timeout: float) -> Receipt:
    """The receipt of the event at `offset` in `documents`, else the newest one of the document.

    Reads the document's partition of `receipts` (kept for a day) from its start and waits up to `timeout`
    seconds at its end. Raises NoAnswerError, BrokerError.
    """
    topic, key = settings.topic("receipts"), document_id.encode()
    consumer = reader(settings, **CLIENT_CONFIG)
    try:
        partition = partition_of(key, partition_count(consumer, settings, topic))
        place = TopicPartition(topic, partition)
        place.offset, _ = first_and_end(consumer, settings, place)
        consumer.assign([place])
        found = _search(consumer, key=key, offset=offset, timeout=timeout)
    finally:
        consumer.close()
    if found is None:
        raise NoAnswerError(
            f"no receipt for {document_id!r} in {topic} partition {partition} within {timeout:g} s. "
            f"Is an indexer running? `trieflow status` shows lag and health"
        )
    return found


def _search(consumer: Consumer, *, key: bytes, offset: int | None, timeout: float) -> Receipt | None:
    newest: Receipt | None = None
    for record in _records(consumer, timeout):
        if record is None:  # the end of what is there
            if newest is not None:
                return newest
        elif record.key == key:
            receipt = decode_body(
                record.value or b"", model=Receipt, topic="receipts", headers=record.incoming
            )
            if receipt is not None and offset is None:
                newest = receipt
            elif receipt is not None and receipt.source.offset == offset:
                return receipt
    return newest


def _records(consumer: Consumer, timeout: float) -> Iterator[Record | None]:
    """Records until `timeout` seconds have passed; None at each end of the partition."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is not None:
            yield None if raise_on_error(message) else Record.of(message)
