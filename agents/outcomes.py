"""What a batch of document events comes to: log entries, receipts and dead letters, each event exactly one way."""

from __future__ import annotations

import time

from agents.assignment_log import LogEntry, epoch_ids
from agents.item import Item
from agents.partition_log import DeadLetter, Outputs, PendingReceipt
from agents.sensors import Sensor
from state.rows import StoredIds
from streams.dead_letters import dead_letter
from streams.errors import DataError
from streams.events.bad_cases import BadCase
from streams.events.base import ErrorDetail
from streams.events.documents import Receipt, ReceiptStatus
from streams.topics import DLQ


class Outcomes:
    """Collects the outputs of one batch."""

    def __init__(self, sensor: Sensor, *, epoch: int, started: float) -> None:
        self.outputs = Outputs()
        self._sensor = sensor
        self._epoch = epoch
        self._started = started

    def entry(self, entry: LogEntry) -> int:
        """Add a log entry; returns its place in the batch."""
        self.outputs.entries.append(entry)
        return len(self.outputs.entries) - 1

    def assigned(self, item: Item, entry: LogEntry, *, updated: bool) -> None:
        assert entry.assignment is not None
        semantic_id = entry.assignment.id_in(self._epoch)
        self._receipt(
            item, "updated" if updated else "indexed", semantic_id=semantic_id, entry=self.entry(entry)
        )

    def deleted(self, item: Item, entry: LogEntry, current: StoredIds) -> None:
        self._receipt(item, "deleted", semantic_id=self._id_of(current), entry=self.entry(entry))

    def unchanged(self, item: Item, current: StoredIds) -> None:
        self._receipt(item, "unchanged", semantic_id=self._id_of(current))

    def ignored(self, item: Item, error: DataError) -> None:
        """Nothing is wrong with the event; it only comes too late, or names what is not there."""
        self._receipt(item, "ignored", error=error)

    def rejected(self, item: Item) -> None:
        """A bad event: its bytes go to the dead letters, its publisher gets a receipt (a move has none)."""
        error = item.error
        assert error is not None
        record = item.record
        key, value, headers = dead_letter(record, error, stage=item.stage)
        self.outputs.dead_letters.append(DeadLetter(record.topic + DLQ, key, value, headers))
        self._sensor.dead_letter(item.topic, error.code)
        if item.move is None and item.topic == "documents":
            self._receipt(item, "rejected", error=error)

    def bad_case(self, case: BadCase | None) -> None:
        """What an operator should look at, if anything."""
        if case is not None:
            self.outputs.bad_cases.append(case)

    def _id_of(self, current: StoredIds) -> str | None:
        return next((i.semantic_id for i in epoch_ids(current.ids) if i.epoch == self._epoch), None)

    def _receipt(
        self,
        item: Item,
        status: ReceiptStatus,
        *,
        semantic_id: str | None = None,
        entry: int | None = None,
        error: DataError | None = None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        detail = error and ErrorDetail(code=error.code, message=error.message, field=error.field)
        receipt = Receipt(
            document_id=item.document_id,
            status=status,
            semantic_id=semantic_id,
            epoch=self._epoch if semantic_id else None,
            source=item.source,
            error=detail,
            took_ms=round(seconds * 1_000, 3),
        )
        passed_on = item.record.incoming.passed_on()
        pending = PendingReceipt(receipt, item.event_id("receipt"), passed_on, entry)
        self.outputs.receipts.append(pending)
        self._sensor.document_done(status, seconds)
