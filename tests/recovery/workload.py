"""A mixed stream of document events, and an independent account of what must become of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from streams.headers import Headers
from streams.partitioner import partition_of
from streams.records import Record

Address = tuple[int, int]
"""Partition and offset of an event in `documents`."""

_KINDS = {"changed": 40, "same": 15, "deleted": 12, "stale": 10, "not_json": 8, "empty": 8, "misplaced": 7}
_COLOURS = ("red", "green", "blue", "white", "black", "brown", "purple", "yellow")
_THINGS = ("boots", "lamp", "kettle", "guitar", "bicycle", "teapot", "jacket", "carpet", "mirror", "piano")


@dataclass(frozen=True)
class DocumentEvent:
    """A record to write. Without `partition` the key decides."""

    key: str
    value: bytes | None
    partition: int | None = None
    headers: Headers = field(default_factory=list)


class Workload:
    """An endless seeded mix over few keys, so that events of one document meet in one batch.

    New, changed, repeated, deleted and stale documents; bodies that are no JSON or empty; keys in the wrong
    partition. Every third key carries versions.
    """

    def __init__(self, *, seed: int, partitions: int, documents: int = 40) -> None:
        self._random = random.Random(seed)
        self._partitions = partitions
        self._keys = [f"document-{number:03}" for number in range(documents)]
        self._last: dict[str, bytes] = {}
        self._made = 0
        self._seed = seed

    def __iter__(self) -> Iterator[DocumentEvent]:
        while True:
            yield self.next()

    def take(self, count: int) -> list[DocumentEvent]:
        return [self.next() for _ in range(count)]

    def next(self) -> DocumentEvent:
        self._made += 1
        key = self._random.choice(self._keys)
        kind = self._random.choices(list(_KINDS), weights=list(_KINDS.values()))[0]
        make: Callable[[str], DocumentEvent] = getattr(self, f"_{kind}")
        return make(key)

    def documents(self, count: int, *, prefix: str) -> list[DocumentEvent]:
        """New valid documents with keys of their own."""
        self._made += count
        return [DocumentEvent(f"{prefix}-{n}", self._body(f"{prefix}-{n}", version=0)) for n in range(count)]

    def _changed(self, key: str) -> DocumentEvent:
        self._last[key] = self._body(key, version=self._made)
        return DocumentEvent(key, self._last[key])

    def _same(self, key: str) -> DocumentEvent:
        return DocumentEvent(key, self._last[key]) if key in self._last else self._changed(key)

    def _deleted(self, key: str) -> DocumentEvent:
        return DocumentEvent(key, None)

    def _stale(self, key: str) -> DocumentEvent:
        return DocumentEvent(key, self._body(key, version=max(0, self._made - 400)))

    def _not_json(self, key: str) -> DocumentEvent:
        return DocumentEvent(key, b'{"title": ')

    def _empty(self, key: str) -> DocumentEvent:
        return DocumentEvent(key, b'{"title": " "}')

    def _misplaced(self, key: str) -> DocumentEvent:
        wrong = (partition_of(key.encode(), self._partitions) + 1) % self._partitions
        return DocumentEvent(key, self._body(key, version=self._made), partition=wrong)

    def _body(self, key: str, *, version: int) -> bytes:
        words = self._random.sample(_COLOURS, 1) + self._random.sample(_THINGS, 2)
        body: dict[str, object] = {"title": f"{' '.join(words)} {self._seed}x{self._made}"}
        if key.endswith(("0", "3", "6", "9")):
            body["version"] = version
        return orjson.dumps(body)


@dataclass
class DocumentTruth:
    """What must be known of a document: `body` None when it is deleted, the event that said so, its version."""

    body: bytes | None
    source: Address
    version: int | None

    @property
    def title(self) -> str | None:
        return None if self.body is None else orjson.loads(self.body)["title"]


@dataclass
class Truth:
    """The latest of each document, and the one status that each event must have in its receipts."""

    documents: dict[str, DocumentTruth] = field(default_factory=dict)
    statuses: dict[Address, str] = field(default_factory=dict)
    events: dict[Address, Record] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, DocumentTruth]:
        return {key: document for key, document in self.documents.items() if document.body is not None}

    @classmethod
    def of(cls, events: Sequence[Record], *, partitions: int) -> Truth:
        """Walk `documents` in order. Keys live in one partition each, so partitions may follow each other."""
        truth = cls()
        for event in sorted(events, key=lambda e: (e.partition, e.offset)):
            address = (event.partition, event.offset)
            truth.events[address] = event
            truth.statuses[address] = truth._status(event, address, partitions)
        return truth

    def _status(self, event: Record, address: Address, partitions: int) -> str:
        key = (event.key or b"").decode()
        if partition_of(event.key or b"", partitions) != event.partition or not _is_document(event.value):
            return "rejected"
        current = self.documents.get(key)
        if event.value is None:
            if current is None or current.body is None:
                return "ignored"
            self.documents[key] = DocumentTruth(None, address, current.version)
            return "deleted"
        given = orjson.loads(event.value).get("version")
        known = current.version if current is not None else None
        if given is not None and known is not None and given < known:
            return "ignored"
        if current is not None and current.body == event.value:
            return "unchanged"
        self.documents[key] = DocumentTruth(event.value, address, given if given is not None else known)
        return "updated" if current is not None and current.body is not None else "indexed"


def _is_document(value: bytes | None) -> bool:
    """Whether a value of this workload is one that the system must take."""
    if value is None:
        return True
    try:
        return bool(orjson.loads(value)["title"].strip())
    except orjson.JSONDecodeError:
        return False
