"""Documents for the live index: from a record of the log, or from a shard when a process starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from state.live_index import LiveDocument
from state.rows import StoredIds
from state.shard import Shard
from streams.events.assignments import Assignment


def live_document(
    document_id: str, assignment: Assignment, *, stamp: str, arrived_at: float | None = None
) -> LiveDocument:
    """What the index holds of an assignment. Vectors of another stamp are left out: they never mix."""
    vectors = [(v.kind, v.array().astype(np.float32)) for v in assignment.vectors if v.stamp == stamp]
    return LiveDocument(
        document_id=document_id,
        ids=StoredIds.of(assignment).ids,
        vectors=vectors,
        modality=assignment.modality,
        language=assignment.language,
        tags=assignment.tags,
        fields=assignment.fields,
        published_at=assignment.published_at,
        arrived_at=arrived_at,
    )


def stored_documents(shard: Shard, *, stamp: str) -> Iterator[LiveDocument]:
    """All live documents of a shard, as `live_document` gives them, in order of document ids."""
    for document_id, stored in shard.scan():
        document = shard.document(document_id)
        if document is None:  # deleted since the scan read its ids
            continue
        vectors = shard.vectors(document_id)
        yield LiveDocument(
            document_id=document_id,
            ids=stored.ids,
            vectors=[(v.kind, v.array.astype(np.float32)) for v in vectors if v.stamp == stamp],
            modality=document.modality,
            language=document.language,
            tags=document.tags,
            fields=document.fields,
            published_at=document.published_at,
        )
