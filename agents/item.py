"""One event on its way through the commit of the indexer, and its decoding (step 1)."""

from __future__ import annotations

from dataclasses import dataclass

from agents.preparation import Content
from streams.codec import decode_body, decode_key, decode_version
from streams.errors import DataError
from streams.events.assignments import Modality, StampedVector
from streams.events.base import SourceAddress
from streams.events.codebooks import Move
from streams.events.documents import Document
from streams.headers import DELETED, derived_id
from streams.partitioner import partition_of
from streams.records import Record
from streams.settings import Settings


@dataclass
class Item:
    """One event on its way through the steps: what it asks for, or the error that ended it."""

    record: Record
    topic: str
    document_id: str = ""
    document: Document | None = None
    version: int | None = None
    move: Move | None = None
    content: Content | None = None
    prepared_vectors: list[StampedVector] | None = None
    modality: Modality = "vector"
    image: str | None = None
    error: DataError | None = None
    stage: str = "decode"

    @property
    def is_delete(self) -> bool:
        return self.document is None and self.move is None

    @property
    def is_remote(self) -> bool:
        """True when something has to be fetched for it."""
        return self.document is not None and any(image.url for image in self.document.images)

    @property
    def source(self) -> SourceAddress:
        return SourceAddress(
            topic=self.record.topic, partition=self.record.partition, offset=self.record.offset
        )

    def event_id(self, operation: str) -> str:
        """The deterministic id of what is derived from this event."""
        record = self.record
        return derived_id(
            topic=record.topic, partition=record.partition, offset=record.offset, operation=operation
        )


def decode_item(record: Record, settings: Settings) -> Item:
    """Read a record of `documents` or `moves`. Never raises: what is wrong with it is its `error`."""
    item = Item(record, topic=record.topic.removeprefix(settings.prefix))
    try:
        item.document_id = decode_key(record.key)
        _check_partition(record, settings.partitions)
        if item.topic == "moves":
            item.move = _decode_move(record)
        else:
            _decode_document(item)
    except DataError as error:
        item.error = error
    return item


def _check_partition(record: Record, partitions: int) -> None:
    right = partition_of(record.key or b"", partitions)
    if right != record.partition:
        raise DataError(
            "wrong_partition",
            f"this key belongs to partition {right}, it came to {record.partition}: set the partitioner "
            "of the producer to murmur2_random (librdkafka) or leave Java's default",
        )


def _decode_move(record: Record) -> Move:
    move = decode_body(record.value or b"", model=Move, topic="moves", headers=record.incoming)
    if move is None:
        raise DataError("schema", "a move has a body")
    return move


def _decode_document(item: Item) -> None:
    headers = item.record.incoming
    if item.record.value is None or headers.event_type == DELETED:
        item.version = decode_version(headers)
        return
    item.document = decode_body(item.record.value, model=Document, topic="documents", headers=headers)
    item.version = item.document.version if item.document else None
