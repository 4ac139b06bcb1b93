"""What was published in a soak, and what must have become of it: kept by the publisher, told by receipts."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Literal

import orjson

from streams.events.base import LogPosition
from streams.headers import CORRELATION_ID
from streams.records import Record

Kind = Literal["new", "update", "delete"]
STATUS: dict[Kind, str] = {"new": "indexed", "update": "updated", "delete": "deleted"}
"""The one status that each kind of event must get."""
REMEMBERED = 2_000


@dataclass(frozen=True)
class Change:
    """One event of the stream. `number` names the document, `revision` counts its events from 0."""

    kind: Kind
    number: int
    revision: int

    @property
    def key(self) -> str:
        return document_id(self.number)

    @property
    def name(self) -> str:
        """Its correlation id, which the receipt repeats."""
        return f"{self.kind}/{self.number}/{self.revision}"


def document_id(number: int) -> str:
    """The key of a document."""
    return f"soak-{number:07}"


@dataclass
class Document:
    """What was published of a document last: the row of its vector and sentence, its revision."""

    row: int
    revision: int = 0
    live: bool = True


@dataclass(frozen=True)
class Seen:
    """What answers must have seen from some moment on: log positions, and how many deletes were confirmed."""

    read_after: tuple[LogPosition, ...]
    deletes: int


@dataclass
class Account:
    """Thread-safe. Changes are noted before they are sent, receipts as they come."""

    documents: dict[int, Document] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Receipts that must not be: of another status, twice, or of nothing that was sent."""
    deleted: deque[Change] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    changed: deque[Change] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """The last deletes and updates that have a receipt."""
    indexed: list[int] = field(default_factory=list)
    """All documents whose first event has a receipt, in the order of these."""
    _waiting: dict[str, Change] = field(default_factory=dict)
    _deleted_as: dict[str, int] = field(default_factory=dict)
    _positions: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, change: Change) -> None:
        """An event is about to be written."""
        with self._lock:
            self._waiting[change.name] = change

    def take_receipt(self, record: Record) -> None:
        """A record of `receipts`."""
        receipt = orjson.loads(record.value or b"{}")
        name = record.incoming.text(CORRELATION_ID) or ""
        with self._lock:
            change = self._waiting.pop(name, None)
            self.statuses[receipt["status"]] += 1
            if change is None or receipt["status"] != STATUS[change.kind]:
                self.wrong.append(f"{name}: {receipt['status']} {receipt.get('error') or ''}")
                return
            for position in receipt["read_after"]:
                partition, offset = position["partition"], position["offset"]
                self._positions[partition] = max(offset, self._positions.get(partition, -1))
            if change.kind == "new":
                self.indexed.append(change.number)
            elif change.kind == "delete":
                self._deleted_as[change.key] = len(self._deleted_as)
                self.deleted.append(change)
            else:
                self.changed.append(change)

    @property
    def waiting(self) -> int:
        """Events that have no receipt yet."""
        return len(self._waiting)

    def unanswered(self) -> list[str]:
        """Some of them."""
        with self._lock:
            return list(self._waiting)[:5]

    def seen(self) -> Seen:
        """What a query that is asked now must see."""
        with self._lock:
            positions = tuple(LogPosition(partition=p, offset=o) for p, o in sorted(self._positions.items()))
            return Seen(positions, len(self._deleted_as))

    def was_deleted(self, key: str, seen: Seen) -> bool:
        """Whether a document's delete was confirmed by then. No id is published again once it is deleted."""
        return self._deleted_as.get(key, seen.deletes) < seen.deletes
