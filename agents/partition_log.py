"""The fenced writer of one partition: log entries and all that goes with them in one Kafka transaction (step 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

from agents import crash_points
from agents.assignment_log import SOURCE, LogEntry
from agents.fenced_writer import call, produce, refused
from streams.clients import transactional_producer
from streams.events.bad_cases import BadCase
from streams.events.base import LogPosition
from streams.events.documents import Receipt
from streams.headers import TYPES, Headers, cloud_event, subject_id
from streams.settings import Settings


@dataclass(frozen=True)
class PendingReceipt:
    """A receipt that waits for the offset of its log entry: `entry` is the entry's place in the batch."""

    receipt: Receipt
    event_id: str
    passed_on: Headers
    entry: int | None


@dataclass(frozen=True)
class DeadLetter:
    """Bytes that could not be used; `topic` is the full name of the dead-letter topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass
class Outputs:
    """All that one batch writes to Kafka."""

    entries: list[LogEntry] = field(default_factory=list)
    receipts: list[PendingReceipt] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    bad_cases: list[BadCase] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (self.entries or self.receipts or self.dead_letters or self.bad_cases)


class PartitionLog:
    """Owns `transactional.id = <prefix>indexer-<partition>`; taking it fences every earlier owner (KIP-98).

    Guarantee: `publish` writes everything or nothing that a `read_committed` reader can see. FencedError means
    that another process owns the partition now; BrokerError that Kafka did not take it in time.
    """

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._partition = partition
        self._timeout_s = settings.indexer.transaction_timeout_s
        self._producer: Producer = transactional_producer(
            settings, transactional_id=f"{settings.prefix}indexer-{partition}", timeout_s=self._timeout_s
        )
        call(lambda: self._producer.init_transactions(60.0))

    def publish(self, outputs: Outputs, *, active_epoch: int, log_end: int) -> list[int]:
        """Write one batch; returns the log offsets of its entries. `log_end` serves receipts without entry."""
        if outputs.is_empty():
            return []
        call(self._producer.begin_transaction)
        offsets = self._write_entries(outputs.entries, active_epoch)
        if __debug__:
            crash_points.reached("in-5")
        self._write_receipts(outputs.receipts, offsets, log_end)
        for letter in outputs.dead_letters:
            self._produce(letter.topic, key=letter.key, value=letter.value, headers=letter.headers)
        self._write_bad_cases(outputs.bad_cases)
        call(lambda: self._producer.commit_transaction(self._timeout_s))
        return offsets

    def _write_entries(self, entries: Sequence[LogEntry], active_epoch: int) -> list[int]:
        """Produce and flush, so that the receipts of the same transaction can carry these offsets."""
        offsets = [-1] * len(entries)
        failures: list[KafkaError] = []

        def delivered(place: int, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error)
            else:
                offsets[place] = message.offset() or 0

        topic = self._settings.topic("assignments")
        for place, entry in enumerate(entries):
            self._produce(
                topic,
                key=entry.key.encode(),
                value=entry.value(),
                headers=entry.headers(active_epoch=active_epoch),
                on_delivery=lambda error, message, place=place: delivered(place, error, message),
            )
        if entries:
            waiting = call(lambda: self._producer.flush(self._timeout_s))
            if failures or waiting:
                raise refused(failures[0] if failures else None)
        return offsets

    def _write_receipts(
        self, receipts: Sequence[PendingReceipt], offsets: Sequence[int], log_end: int
    ) -> None:
        topic = self._settings.topic("receipts")
        for pending in receipts:
            offset = log_end - 1 if pending.entry is None else offsets[pending.entry]
            receipt = pending.receipt
            if offset >= 0 and receipt.error is None:
                position = LogPosition(partition=self._partition, offset=offset)
                receipt = receipt.model_copy(update={"read_after": [position]})
            headers = cloud_event(
                event_type=TYPES["receipts"],
                source=SOURCE,
                event_id=pending.event_id,
                extra=pending.passed_on,
            )
            self._produce(topic, key=receipt.document_id.encode(), value=receipt.to_json(), headers=headers)

    def _write_bad_cases(self, cases: Sequence[BadCase]) -> None:
        for case in cases:
            document_id = str(case.document_id)
            headers = cloud_event(
                event_type=TYPES["bad-cases"], source=SOURCE, event_id=subject_id(case.kind, document_id)
            )
            topic = self._settings.topic("bad-cases")
            self._produce(topic, key=document_id.encode(), value=case.to_json(), headers=headers)

    def _produce(self, topic: str, **message: object) -> None:
        # Log entries and receipts go to the partition that owns them, whatever their key hashes to.
        partition = {} if topic.endswith(".dlq") else {"partition": self._partition}
        produce(self._producer, topic, **partition, **message)
