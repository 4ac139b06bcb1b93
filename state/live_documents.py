"""Documents for the live index: from records of the log, or from a shard when a process starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from state.live_index import Change, LiveDocument, LiveIndex, Removal
from state.records import LogRecord
from state.rows import StoredIds, StoredVector
from state.shard import Shard
from streams.events.assignments import Assignment, StampedVector

BATCH = 2_048
V = TypeVar("V", StampedVector, StoredVector)


def live_document(
    document_id: str, assignment: Assignment, *, stamp: str, arrived_at: float | None = None
) -> LiveDocument:
    """What the index holds of an assignment. Vectors of another stamp are left out: they never mix."""
    vectors = [v for v in assignment.vectors if v.stamp == stamp]
    return LiveDocument(
        document_id=document_id,
        ids=StoredIds.of(assignment).ids,
        vectors=[(v.kind, v.array().astype(np.float32)) for v in needed_vectors(vectors)],
        modality=assignment.modality,
        language=assignment.language,
        tags=assignment.tags,
        fields=assignment.fields,
        published_at=assignment.published_at,
        arrived_at=arrived_at,
    )


def live_changes(
    records: Iterable[LogRecord],
    *,
    stamp: str,
    timestamps: Mapping[tuple[int, int], int] | None = None,
) -> Iterator[Change]:
    """What records of the log change. timestamps: (partition, offset) -> milliseconds since the epoch."""
    for record in records:
        if record.tombstone is not None:
            yield Removal(record.key)
        elif record.assignment is not None:
            at_ms = None if timestamps is None else timestamps.get((record.partition, record.offset))
            arrived_at = None if at_ms is None else at_ms / 1_000
            yield live_document(record.key, record.assignment, stamp=stamp, arrived_at=arrived_at)


def stored_documents(shard: Shard, *, stamp: str) -> Iterator[LiveDocument]:
    """All live documents of a shard, as `live_document` gives them, in order of document ids."""
    for document_id, ids, document, vectors in shard.documents():
        yield LiveDocument(
            document_id=document_id,
            ids=ids,
            vectors=[
                (v.kind, v.array.astype(np.float32))
                for v in needed_vectors([v for v in vectors if v.stamp == stamp])
            ],
            modality=document.modality,
            language=document.language,
            tags=document.tags,
            fields=document.fields,
            published_at=document.published_at,
        )


def fill(
    index: LiveIndex,
    shard: Shard,
    *,
    stamp: str,
    on_batch: Callable[[Sequence[LiveDocument]], object] = lambda batch: None,
) -> None:
    """Put all documents of a shard into the index, before anything else writes to either."""
    remaining = stored_documents(shard, stamp=stamp)
    while batch := _next(remaining):
        index.apply(batch)
        on_batch(batch)


def _next(remaining: Iterator[LiveDocument]) -> Sequence[LiveDocument]:
    return list(islice(remaining, BATCH))


def needed_vectors(vectors: Sequence[V]) -> Sequence[V]:
    """Of a single text or picture the fused vector says the same again; raw features are not searched in memory."""
    joint = [vector for vector in vectors if vector.kind != "raw"]
    if len(joint) == 1:
        return joint
    others = [vector for vector in joint if vector.kind != "fused"]
    return others if len(others) == 1 else joint
