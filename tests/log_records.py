"""Log records for the tests of state: short to write, complete to read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from state.records import EpochCode, LogRecord, Tombstone
from streams.events.assignments import Assignment, EpochComplete, EpochId, StampedVector
from streams.events.base import SourceAddress
from streams.events.documents import FieldValue
from streams.semantic_id import SemanticId

STAMP = "hash@1/f32"
SOURCE_TOPIC = "documents"


def source(offset: int, *, topic: str = SOURCE_TOPIC, partition: int = 0) -> SourceAddress:
    return SourceAddress(topic=topic, partition=partition, offset=offset)


def epoch_ids(codes: Iterable[EpochCode]) -> list[EpochId]:
    return [EpochId(epoch=epoch, semantic_id=str(SemanticId.unpacked(code))) for epoch, code in codes]


def assignment_of(
    ids: Mapping[int, int],
    *,
    retired: Iterable[EpochCode] = (),
    version: int | None = None,
    title: str | None = None,
    fields: Mapping[str, FieldValue] | None = None,
    source_offset: int = 0,
    dimension: int = 4,
) -> Assignment:
    """An assignment whose vector and content hash follow from its title."""
    seed = hashlib.sha256((title or "").encode()).digest()
    vector = np.random.default_rng(list(seed)).standard_normal(dimension)
    return Assignment(
        ids=epoch_ids(ids.items()),
        retired=epoch_ids(retired),
        modality="text",
        vectors=[StampedVector.of(STAMP, "fused", vector)],
        fields=fields or {},
        title=title,
        version=version,
        content_hash=seed.hex(),
        source=source(source_offset),
    )


def assigned(key: str, assignment: Assignment, *, offset: int, partition: int = 0) -> LogRecord:
    return LogRecord(partition, offset, key, assignment, None)


def deleted(
    key: str,
    ids: Mapping[int, int],
    *,
    offset: int,
    retired: tuple[EpochCode, ...] = (),
    version: int | None = None,
    source_offset: int = 0,
    partition: int = 0,
) -> LogRecord:
    return LogRecord(partition, offset, key, None, Tombstone(ids, version, source(source_offset), retired))


def completed(epoch: int, *, partition: int, documents: int, offset: int) -> LogRecord:
    control = EpochComplete(epoch=epoch, partition=partition, documents=documents)
    return LogRecord(partition, offset, control.key, None, None, control)


def packed(text: str) -> int:
    return SemanticId.parse(text).packed()
