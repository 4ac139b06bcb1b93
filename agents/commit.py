"""The commit of the indexer for one partition. The numbers in the body are those of the docstring of `Commit`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from agents import crash_points
from agents.assignment_log import LogEntry, epoch_ids
from agents.codebook_log import Codebooks
from agents.encoding import EncodingService
from agents.fetching import Fetcher
from agents.item import Item, decode_item
from agents.mismatches import Mismatches
from agents.outcomes import Outcomes
from agents.partition_log import Outputs, PartitionLog
from agents.placement import Placement
from agents.preparation import Content, Preparer, fetch_content
from agents.sensors import Sensor
from models.encoders.base import Encoded
from state.records import Tombstone
from state.rows import StoredIds
from state.shard import Shard
from streams.errors import DataError
from streams.events.assignments import Assignment, StampedVector
from streams.records import Record
from streams.semantic_id import Leaf
from streams.settings import KIB, MIB, Settings
from streams.topics import DEAD_LETTER_LIMIT

ENTRY_LIMIT = DEAD_LETTER_LIMIT - 256 * KIB
"""Bytes of a log entry; the topic takes a little more, for key and headers."""


@dataclass(frozen=True)
class Tools:
    """What all partitions of a process share."""

    settings: Settings
    encoding: EncodingService
    preparer: Preparer
    fetcher: Fetcher
    downloads: Executor
    sensor: Sensor


class Commit:
    """Takes a batch of events of one partition into the log and the shard.

    1. Decode and validate; bad events become dead letters and rejected receipts.
    2. Drop what is at or below the applied source offset: it is in the log, receipts and all.
    3. Fetch content and encode.
    4. Decide each event against the shard and this batch, and allocate ids.
    5. One fenced Kafka transaction: log entries, receipts, dead letters, bad cases.
    6. One RocksDB write batch: rows, counters, log position, applied source offset.
    7. (the runtime) Ack.

    Killed between 5 and 6, the next start reads the log from the shard's position and is where it was; between
    6 and 7, redelivered events fall out at step 2. Raises FencedError and BrokerError; never a DataError.
    """

    def __init__(
        self, tools: Tools, *, partition: int, shard: Shard, partition_log: PartitionLog, placement: Placement
    ) -> None:
        self._tools = tools
        self._partition = partition
        self._shard = shard
        self._log = partition_log
        self._placement = placement
        self._mismatches = Mismatches(shard)

    def __call__(self, records: Sequence[Record], codebooks: Codebooks) -> None:
        started = time.perf_counter()
        items = [decode_item(record, self._tools.settings) for record in records]  # 1
        if __debug__:
            crash_points.reached("1-2")
        items = [i for i in items if i.record.offset > self._shard.applied(i.record.topic)]  # 2
        if __debug__:
            crash_points.reached("2-3")
        self._fetch_and_encode(items)  # 3
        if __debug__:
            crash_points.reached("3-4")
        outcomes = self._decide(items, codebooks, started)  # 4
        if __debug__:
            crash_points.reached("4-5")
        self._publish_and_apply(outcomes.outputs, codebooks, _applied(items))  # 5, 6
        seconds = time.perf_counter() - started
        self._tools.sensor.batch_committed(self._partition, len(items), seconds)

    def _publish_and_apply(self, outputs: Outputs, codebooks: Codebooks, applied: dict[str, int]) -> None:
        log_end = self._shard.position(self._partition)
        offsets = self._log.publish(outputs, active_epoch=codebooks.active, log_end=log_end)  # 5
        if __debug__:
            crash_points.reached("5-6")
        entries = zip(outputs.entries, offsets, strict=True)
        records = [entry.as_record(partition=self._partition, offset=offset) for entry, offset in entries]
        self._shard.apply(records, applied=applied)  # 6
        if __debug__:
            crash_points.reached("6-7")

    # -- 3 ----------------------------------------------------------------------------------------------

    def _fetch_and_encode(self, items: Sequence[Item]) -> None:
        wanted = [item for item in items if item.document is not None and item.error is None]
        downloads = [
            (item, self._tools.downloads.submit(self._fetch, item)) for item in wanted if item.is_remote
        ]
        for item in wanted:
            if not item.is_remote:
                item.content = self._fetch(item)
        for item, download in downloads:
            item.content = download.result()
        self._encode([item for item in wanted if item.error is None and self._may_be_new(item)])

    def _fetch(self, item: Item) -> Content | None:
        item.stage = "fetch"
        assert item.document is not None
        try:
            return fetch_content(
                item.document,
                stamp=self._tools.encoding.description.stamp,
                fetcher=self._tools.fetcher,
                settings=self._tools.settings.content,
            )
        except DataError as error:
            item.error = error
            return None

    def _may_be_new(self, item: Item) -> bool:
        """False for what the shard holds already: it is not encoded again."""
        stored = self._shard.stored(item.document_id)
        return (
            stored is None
            or stored.deleted
            or item.content is None
            or (stored.content_hash != item.content.content_hash)
        )

    def _encode(self, items: Sequence[Item]) -> None:
        """Vectors of all items in one call; when that fails, one by one, so that a bad one stands alone."""
        prepared = []
        for item in items:
            item.stage = "encode"
            assert item.content is not None
            try:
                prepared.append((item, self._tools.preparer.prepare(item.content)))
            except DataError as error:
                item.error = error
        futures = [
            (item, p, self._tools.encoding.submit(p.parts, side="document") if p.parts else None)
            for item, p in prepared
        ]
        for item, p, future in futures:
            try:
                encoded = future.result() if future else _nothing()
                item.prepared_vectors = self._tools.preparer.vectors(p, encoded)
            except DataError as error:
                item.error = error
            except Exception as error:  # a model that fails on one input must not stop the others
                item.error = DataError("internal", f"the encoder failed: {error!r}"[:500])
                item.error.__cause__ = error
            item.modality, item.image = p.modality, p.image

    # -- 4 ----------------------------------------------------------------------------------------------

    def _decide(self, items: Sequence[Item], codebooks: Codebooks, started: float) -> Outcomes:
        outcomes = Outcomes(self._tools.sensor, epoch=codebooks.active, started=started)
        self._placement.discard()
        pending: dict[str, StoredIds] = {}
        for item in items:
            item.stage = "assign" if item.error is None else item.stage
            current = pending.get(item.document_id) or self._shard.stored(item.document_id)
            entry = None
            if item.error is not None:
                outcomes.rejected(item)
            elif item.move is not None:
                entry = self._moved(item, current, codebooks)
                if entry is not None:
                    outcomes.entry(entry)
            elif item.is_delete:
                entry = self._deleted(item, current, outcomes)
            else:
                entry = self._indexed(item, current, codebooks, outcomes)
            if entry is not None:
                pending[item.document_id] = _state_after(entry)
        return outcomes

    def _deleted(self, item: Item, current: StoredIds | None, outcomes: Outcomes) -> LogEntry | None:
        if current is None or current.deleted:
            outcomes.ignored(item, DataError("unknown_document", "there is no such document to delete"))
            return None
        if _is_older(item.version, current):
            outcomes.ignored(item, _stale(item.version, current))
            return None
        version = item.version if item.version is not None else current.version
        tombstone = Tombstone(dict(current.ids), version, item.source, current.retired)
        entry = LogEntry(
            item.document_id,
            item.event_id("assignment"),
            item.record.incoming.passed_on(),
            tombstone=tombstone,
        )
        outcomes.deleted(item, entry, current)
        outcomes.bad_case(self._mismatches.withdrawn(item.document_id))
        return entry

    def _indexed(
        self, item: Item, current: StoredIds | None, codebooks: Codebooks, outcomes: Outcomes
    ) -> LogEntry | None:
        assert item.content is not None
        if current is not None and _is_older(item.version, current):
            outcomes.ignored(item, _stale(item.version, current))
            return None
        known = current is not None and not current.deleted
        if known and current is not None and current.content_hash == item.content.content_hash:
            outcomes.unchanged(item, current)
            return None
        if item.prepared_vectors is None:
            # The shard held this content when step 3 looked, and an earlier event of the batch changed it.
            self._encode([item])
            if item.error is not None or item.prepared_vectors is None:
                outcomes.rejected(item)
                return None
        entry = self._assignment(item, current, codebooks)
        if _is_too_large(item, entry):
            item.error = DataError("too_large", "the document and its vectors do not fit into one log record")
            outcomes.rejected(item)
            return None
        outcomes.assigned(item, entry, updated=known)
        title = item.content.document.title
        case = self._mismatches.look_at(item.document_id, title, item.prepared_vectors)
        if case is None and known:
            case = self._mismatches.withdrawn(item.document_id)
        outcomes.bad_case(case)
        return entry

    def _assignment(self, item: Item, current: StoredIds | None, codebooks: Codebooks) -> LogEntry:
        assert item.content is not None
        assert item.prepared_vectors is not None
        fused = next(v for v in item.prepared_vectors if v.kind == "fused").array().astype(np.float32)
        ids = self._placement.place(fused, codebooks, dict(current.ids) if current else {})
        retired = current.retired_after(ids) if current else []
        document = item.content.document
        version = document.version if document.version is not None else (current.version if current else None)
        assignment = Assignment(
            ids=epoch_ids(ids),
            retired=epoch_ids(retired),
            modality=item.modality,
            vectors=item.prepared_vectors,
            fields=document.fields,
            tags=document.tags,
            language=document.language,
            title=document.title,
            text=document.text,
            image=item.image,
            version=version,
            content_hash=item.content.content_hash,
            published_at=document.published_at,
            codebook_offset=codebooks.offset,
            source=item.source,
        )
        passed_on = item.record.incoming.passed_on()
        return LogEntry(item.document_id, item.event_id("assignment"), passed_on, assignment=assignment)

    def _moved(self, item: Item, current: StoredIds | None, codebooks: Codebooks) -> LogEntry | None:
        """A document that is gone, changed or moved since, or whose leaf is given up by now, is not moved."""
        move = item.move
        assert move is not None
        if current is None or current.deleted or move.epoch not in codebooks.trees:
            return None
        epoch_text = {e.epoch: e.semantic_id for e in epoch_ids(current.ids)}
        leaf = Leaf.parse(move.to_leaf)
        if epoch_text.get(move.epoch) != move.from_id or leaf.packed() in codebooks.trees[move.epoch].gone:
            return None
        ids = dict(current.ids) | {move.epoch: self._placement.allocate(move.epoch, [leaf])}
        return self.renamed(item.document_id, current, ids, event_id=item.event_id("assignment"))

    def renamed(
        self, document_id: str, current: StoredIds, ids: dict[int, int], *, event_id: str
    ) -> LogEntry | None:
        """The same document under other ids: nothing is encoded again, its source stays."""
        stored = self._shard.document(document_id)
        if stored is None:
            return None
        assignment = Assignment(
            ids=epoch_ids(ids),
            retired=epoch_ids(current.retired_after(ids)),
            modality=stored.modality,
            vectors=[StampedVector.of(v.stamp, v.kind, v.array) for v in self._shard.vectors(document_id)],
            fields=stored.fields,
            tags=list(stored.tags),
            language=stored.language,
            title=stored.title,
            text=stored.text,
            image=stored.image,
            version=current.version,
            content_hash=current.content_hash,
            published_at=stored.published_at,
            codebook_offset=current.codebook_offset,
            source=current.source,
        )
        return LogEntry(document_id, event_id, [], assignment=assignment)

    def publish(self, entries: Sequence[LogEntry], codebooks: Codebooks) -> None:
        """Steps 5 and 6 for entries that no event caused (a new epoch)."""
        self._publish_and_apply(Outputs(entries=list(entries)), codebooks, {})


def _nothing() -> Encoded:
    empty = np.zeros((0, 0), dtype=np.float32)
    return Encoded(empty, empty)


def _applied(items: Sequence[Item]) -> dict[str, int]:
    applied: dict[str, int] = {}
    for item in items:
        applied[item.record.topic] = max(item.record.offset, applied.get(item.record.topic, -1))
    return applied


def _is_too_large(item: Item, entry: LogEntry) -> bool:
    """Small bodies cannot outgrow the log: numbers are written out at most four times as long as they came."""
    if len(item.record.value or b"") <= MIB:
        return False
    return len(entry.value() or b"") > ENTRY_LIMIT


def _is_older(version: int | None, current: StoredIds) -> bool:
    return version is not None and current.version is not None and version < current.version


def _stale(version: int | None, current: StoredIds) -> DataError:
    return DataError("stale_version", f"version {version} is older than {current.version}, which is stored")


def _state_after(entry: LogEntry) -> StoredIds:
    """What the shard will say of the document once the entry is applied."""
    if entry.assignment is not None:
        return StoredIds.of(entry.assignment)
    assert entry.tombstone is not None
    return StoredIds.of_deleted(entry.tombstone, at=time.time())
