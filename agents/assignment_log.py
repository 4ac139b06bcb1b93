"""Records of `assignments`: how the owner of a partition writes them and everybody reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from state.records import EpochCode, LogRecord, Tombstone
from streams.errors import StateError
from streams.events.assignments import CONTROL_PREFIX, Assignment, EpochComplete, EpochId
from streams.events.base import SourceAddress
from streams.headers import DELETED, TYPES, Headers, cloud_event
from streams.records import Record, read_batches
from streams.semantic_id import SemanticId
from streams.settings import Settings

SOURCE = "trieflow/indexer"


@dataclass(frozen=True)
class LogEntry:
    """What the owner publishes to its partition of the log: one of assignment, tombstone, control."""

    key: str
    event_id: str
    passed_on: Headers
    assignment: Assignment | None = None
    tombstone: Tombstone | None = None
    control: EpochComplete | None = None

    def value(self) -> bytes | None:
        """The body; None for a tombstone."""
        event = self.assignment or self.control
        return None if event is None else event.to_json()

    def headers(self, *, active_epoch: int) -> Headers:
        """CloudEvents headers; a tombstone keeps what must outlive its document in headers too."""
        if self.tombstone is None:
            return cloud_event(
                event_type=TYPES["assignments"], source=SOURCE, event_id=self.event_id, extra=self.passed_on
            )
        extra = [*self.passed_on, *_tombstone_headers(self.tombstone, active_epoch)]
        return cloud_event(event_type=DELETED, source=SOURCE, event_id=self.event_id, extra=extra)

    def as_record(self, *, partition: int, offset: int) -> LogRecord:
        """The same entry as a reader of the log sees it."""
        return LogRecord(partition, offset, self.key, self.assignment, self.tombstone, self.control)


def _tombstone_headers(tombstone: Tombstone, active_epoch: int) -> Headers:
    active = tombstone.ids.get(active_epoch)
    headers = [
        ("source", tombstone.source.to_json()),
        ("ids", _ids_json(tombstone.ids.items())),
        ("retired", _ids_json(tombstone.retired)),
    ]
    if active is not None:
        headers.append(("semantic_id", str(SemanticId.unpacked(active)).encode()))
    if tombstone.version is not None:
        headers.append(("version", str(tombstone.version).encode()))
    return headers


def _ids_json(ids: Iterable[tuple[int, int]]) -> bytes:
    return orjson.dumps([[epoch, str(SemanticId.unpacked(code))] for epoch, code in ids])


def read_log_record(record: Record) -> LogRecord:
    """Decode a record of the log. Raises StateError when damaged: the log is written by us alone."""
    key = (record.key or b"").decode()
    try:
        if record.value is None:
            return LogRecord(record.partition, record.offset, key, None, _read_tombstone(record))
        if key.startswith(CONTROL_PREFIX):
            control = EpochComplete.model_validate_json(record.value)
            return LogRecord(record.partition, record.offset, key, None, None, control)
        assignment = Assignment.model_validate(orjson.loads(record.value))
        return LogRecord(record.partition, record.offset, key, assignment, None)
    except ValueError as error:
        raise StateError(
            f"the index log is damaged at {record.topic}/{record.partition}/{record.offset}: {error}"
        ) from error


def read_log(
    settings: Settings, *, partition: int, start: int, end: int
) -> Iterator[tuple[Sequence[Record], list[LogRecord]]]:
    """The records of [start, end) that still exist, some at a time, as they were written and decoded.

    Raises BrokerError when Kafka does not answer, StateError when one is damaged.
    """
    topic = settings.topic("assignments")
    for batch in read_batches(settings, topic=topic, partition=partition, start=start, end=end):
        yield batch, [read_log_record(record) for record in batch]


def _read_tombstone(record: Record) -> Tombstone:
    headers = record.incoming
    version = headers.text("version")
    return Tombstone(
        ids=dict(_read_ids(headers.values.get("ids"))),
        version=None if version is None else int(version),
        source=SourceAddress.model_validate_json(headers.values.get("source", b"")),
        retired=tuple(_read_ids(headers.values.get("retired"))),
    )


def _read_ids(value: bytes | None) -> list[EpochCode]:
    return [(int(epoch), SemanticId.parse(text).packed()) for epoch, text in orjson.loads(value or b"[]")]


def epoch_ids(ids: Mapping[int, int] | Iterable[EpochCode]) -> list[EpochId]:
    """Ids as the event carries them, in order of epochs."""
    items = ids.items() if isinstance(ids, Mapping) else ids
    return [EpochId(epoch=epoch, semantic_id=str(SemanticId.unpacked(code))) for epoch, code in sorted(items)]
