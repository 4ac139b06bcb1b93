"""Fitted trees as everybody gets them: from the content store, else from `codebooks`, where they stand in parts.

The store is the short way. The log is the sure one: with it alone, an index is whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import chain

import structlog

from agents.content_store import ContentStore
from models.codebooks import Codebook
from streams.errors import ModelError, StateError
from streams.events.codebooks import CodebookEpoch, FitReason, TreePart, parse_key
from streams.records import Record, read_batches
from streams.settings import KIB, Settings

log = structlog.get_logger()

PART_BYTES = 640 * KIB
"""Bytes of a tree in one record: in base64 and with its key it stays below what any Kafka takes, 1 MiB."""
_RECORDS_AT_ONCE = 8


def tree_event(tree: Codebook, data: bytes, *, uri: str, reason: FitReason) -> CodebookEpoch:
    """The record of a tree whose bytes are `data`."""
    return CodebookEpoch(
        epoch=tree.epoch,
        stamp=tree.stamp,
        uri=uri,
        sha256=hashlib.sha256(data).hexdigest(),
        fitted_on=tree.fitted_on,
        leaves=len(tree),
        reason=reason,
        parts=-(-len(data) // PART_BYTES),
    )


def tree_parts(data: bytes) -> Iterator[TreePart]:
    """The bytes of a tree, cut into parts."""
    for at in range(0, len(data), PART_BYTES):
        yield TreePart(data=base64.b64encode(data[at : at + PART_BYTES]).decode())


class PublishedTrees:
    """Finds the bytes of a tree whose record was read. Thread-safe."""

    def __init__(self, settings: Settings, store: ContentStore) -> None:
        self._settings = settings
        self._store = store

    def load(self, event: CodebookEpoch, *, before: int) -> Codebook:
        """The tree of a record at the offset `before`. Raises ModelError when no whole copy of it is left."""
        data = self._stored(event)
        if data is None:
            log.warning("a tree is read from the log: it is not in the content store", epoch=event.epoch)
            data = self._logged(event, before)
        if data is None:
            raise ModelError(
                f"codebook epoch {event.epoch} is missing at {event.uri}, and is not whole in `codebooks`"
            )
        return Codebook.from_bytes(data)

    def _stored(self, event: CodebookEpoch) -> bytes | None:
        try:
            return _checked(self._store.get(event.uri), event)
        except StateError as error:
            log.warning("the content store cannot be read", error=str(error))
            return None

    def _logged(self, event: CodebookEpoch, before: int) -> bytes | None:
        parts: dict[int, bytes] = {}
        for record in self._records(before):
            key = parse_key(record.key or b"")
            if key.epoch != event.epoch or key.part is None:
                continue
            if record.value is None:
                parts.pop(key.part, None)
            else:
                parts[key.part] = base64.b64decode(TreePart.model_validate_json(record.value).data)
        return _checked(b"".join(parts.get(number, b"") for number in range(event.parts)), event)

    def _records(self, end: int) -> Iterator[Record]:
        topic = self._settings.topic("codebooks")
        batches = read_batches(
            self._settings, topic=topic, partition=0, start=0, end=end, size=_RECORDS_AT_ONCE
        )
        return chain.from_iterable(batches)


def _checked(data: bytes | None, event: CodebookEpoch) -> bytes | None:
    whole = data is not None and hashlib.sha256(data).hexdigest() == event.sha256
    return data if whole else None
