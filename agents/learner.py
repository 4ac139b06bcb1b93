"""The learner: joins feedback to impressions, and keeps the click memory. One is active, others stand by.

Words, caps and sessions cross query ids, so one process takes all partitions and keeps one shard. The steps of a
batch are those of the indexer:

1. Decode; what is bad becomes a dead letter.
2. Drop what is at or below the applied offset of its partition.
3. Join and count (`state/clicks/ledger.py`).
4. One fenced Kafka transaction: the full state of each key of `click-memory` that changed, bad cases, dead letters.
5. One RocksDB write batch: impressions, counts, applied offsets.
6. (the runtime) Ack.

Killed between 4 and 5, the same events are counted again from the same rows: the records come out as they did, and
nothing counts twice.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from agents import crash_points
from agents.fenced_writer import FencedWriter
from agents.outbox import Outgoing
from agents.runtime import Runtime, RuntimeOptions
from agents.worker import Worker, let_searchers_go_first
from models.encoders.registry import describe_encoder
from state.clicks.ledger import Ledger
from state.clicks.shard import ClickShard
from streams.codec import decode_body, decode_key
from streams.dead_letters import dead_letter
from streams.errors import DataError, StateError
from streams.events.click_memory import SUMMARY_KEY
from streams.events.impressions import Feedback, Impression
from streams.headers import TYPES, cloud_event
from streams.records import Record
from streams.settings import Settings
from streams.topics import DLQ, cluster_id

log = structlog.get_logger()

ROLE = "learner"
SOURCE = "trieflow/learner"
TOPICS = ("impressions", "feedback")
BATCH_WAIT_S = 0.1
"""A click changes answers so much later, and few and large batches cost a fifth."""
EXPIRE_EVERY_S = 60.0
_REPORT_S = 0.5


@dataclass(frozen=True)
class Event:
    """A decoded record of one of the two topics."""

    record: Record
    query_id: str
    body: Impression | Feedback


class LearnerPartition:
    """One partition number of both topics. A `PartitionHandler` of the runtime."""

    def __init__(self, learner: Learner, partition: int) -> None:
        self._learner = learner
        self._partition = partition
        self._is_open = False

    async def open(self) -> None:
        await self._learner.runtime.in_thread(self._learner.enter)
        self._is_open = True

    async def handle(self, records: Sequence[Record]) -> None:
        await self._learner.runtime.in_thread(lambda: self._learner.commit(records))

    async def between_batches(self) -> bool:
        if self._learner.expiry_is_due:  # asked twenty times a second: no thread for a no
            await self._learner.runtime.in_thread(self._learner.expire_when_due)
        return False

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._learner.runtime.in_thread(self._learner.leave)

    def next_offsets(self) -> Mapping[str, int]:
        return {
            self._learner.settings.topic(name): self._learner.applied(name, self._partition) + 1
            for name in TOPICS
        }


class Learner:
    """What the partitions share: the shard, the fence, and a lock, for batches of different partitions."""

    def __init__(self, worker: Worker) -> None:
        self.settings: Settings = worker.settings
        self._worker = worker
        self._lock = threading.Lock()
        self._entered = 0
        self._shard: ClickShard | None = None
        self._writer: FencedWriter | None = None
        self._expire_at = 0.0
        self._cluster = cluster_id(self.settings)
        self._stamp = describe_encoder(self.settings.encoder).stamp
        self.runtime = Runtime(
            self.settings,
            RuntimeOptions(
                role=ROLE,
                topics=TOPICS,
                batch=self.settings.learning.batch,
                batch_wait_s=BATCH_WAIT_S,
                single=True,
            ),
            handler=lambda partition: LearnerPartition(self, partition),
            health=worker.health,
            on_start=self._watch,
            on_opened=worker.sensor.partition_taken,
        )

    # -- partitions come and go -------------------------------------------------------------------------

    def enter(self) -> None:
        """With the first partition: fence whoever learned before, open the shard."""
        with self._lock:
            if self._entered == 0:
                self._writer = FencedWriter(self.settings, transactional_id=f"{self.settings.prefix}{ROLE}")
                self._shard = self._opened()
            self._entered += 1

    def leave(self) -> None:
        """With the last one: close it."""
        with self._lock:
            self._entered -= 1
            if self._entered == 0 and self._shard is not None:
                self._shard.close()
                self._shard = self._writer = None

    def applied(self, topic: str, partition: int) -> int:
        assert self._shard is not None
        return self._shard.applied(topic, partition)

    def _opened(self) -> ClickShard:
        folder = self.settings.role_folder(ROLE) / "clicks"
        try:
            return self._open(folder)
        except StateError as error:
            log.warning("shard deleted, the logs rebuild it", path=str(folder), reason=str(error))
            shutil.rmtree(folder, ignore_errors=True)
            return self._open(folder)

    def _open(self, folder: Path) -> ClickShard:
        return ClickShard(folder, self.settings.learning, cluster=self._cluster, stamp=self._stamp)

    # -- a batch ----------------------------------------------------------------------------------------

    def commit(self, records: Sequence[Record]) -> None:
        """Steps 1 to 5 for a batch of one partition."""
        started = time.perf_counter()
        with self._lock:
            assert self._shard is not None
            assert self._writer is not None
            shard = self._shard
            partition = records[0].partition
            applied = {name: shard.applied(name, partition) for name in TOPICS}
            new = [record for record in records if record.offset > applied[self._name(record)]]  # 2
            events, outgoing = self._decoded(new)  # 1
            ledger = shard.ledger()
            for event in events:  # 3
                self._take(ledger, event)
            ledger.tidy()
            if __debug__:
                crash_points.reached("3-4")
            self._writer.write([*outgoing, *self._memory_records(ledger), *self._bad_cases(ledger)])  # 4
            if __debug__:
                crash_points.reached("4-5")
            shard.write(ledger, applied={(self._name(r), r.partition): r.offset for r in new})  # 5
        for outcome, count in ledger.outcomes.items():
            self._worker.sensor.feedback_taken(outcome, count)
        if __debug__:
            crash_points.reached("5-6")
        self._worker.sensor.batch_committed(partition, len(new), time.perf_counter() - started)

    @property
    def expiry_is_due(self) -> bool:
        return time.monotonic() >= self._expire_at

    def expire_when_due(self) -> None:
        """Give up feedback that waited for its impression for too long."""
        with self._lock:
            if self._shard is None or not self.expiry_is_due:
                return
            self._expire_at = time.monotonic() + EXPIRE_EVERY_S
            ledger = self._shard.ledger()
            ledger.expire()
            if ledger.outcomes:
                self._shard.write(ledger, applied={})
        for outcome, count in ledger.outcomes.items():
            self._worker.sensor.feedback_taken(outcome, count)

    def _decoded(self, records: Sequence[Record]) -> tuple[list[Event], list[Outgoing]]:
        """Events, and dead letters of what is none."""
        events, letters = [], []
        for record in records:
            try:
                events.append(self._decode(record))
            except DataError as error:
                key, value, headers = dead_letter(record, error, stage="decode")
                letters.append(Outgoing(record.topic + DLQ, key, value, headers))
                self._worker.sensor.dead_letter(self._name(record), error.code)
        return events, letters

    def _decode(self, record: Record) -> Event:
        query_id, name = decode_key(record.key), self._name(record)
        model = Impression if name == "impressions" else Feedback
        body = decode_body(record.value or b"", model=model, topic=name, headers=record.incoming)
        if not isinstance(body, Impression | Feedback):
            raise DataError("schema", "an event on this topic has a body")
        if body.query_id != query_id:
            raise DataError("bad_key", "the key is not the query_id of the body", field="query_id")
        return Event(record, query_id, body)

    @staticmethod
    def _take(ledger: Ledger, event: Event) -> None:
        if isinstance(event.body, Impression):
            ledger.shown(event.query_id, event.body)
        else:
            # Not later than it was written: what says it comes from the future would wait for ever.
            written, at = event.record.timestamp_ms / 1_000, event.body.at
            ledger.given(event.query_id, event.body, written if at is None else min(written, at.timestamp()))

    def _memory_records(self, ledger: Ledger) -> list[Outgoing]:
        """The records of `click-memory` that a batch changes. Before the first click there is nothing to tell."""
        if not ledger.state.accepted:
            return []
        topic = self.settings.topic("click-memory")
        headers = cloud_event(event_type=TYPES["click-memory"], source=SOURCE)
        records = [
            Outgoing(topic, key.encode(), None if known is None else known.event().to_json(), headers, 0)
            for key, known in ledger.touched.items()
            if known is None or known.documents
        ]
        summary = ledger.summary()
        if summary is not None:
            records.append(Outgoing(topic, SUMMARY_KEY.encode(), summary.to_json(), headers, 0))
        return records

    def _bad_cases(self, ledger: Ledger) -> list[Outgoing]:
        """What the batch tells of queries that went wrong; told twice, it has the same id."""
        topic = self.settings.topic("bad-cases")
        return [
            Outgoing(
                topic,
                (case.query_id or "").encode(),
                case.to_json(),
                cloud_event(event_type=TYPES["bad-cases"], source=SOURCE, event_id=event_id),
            )
            for event_id, case in ledger.bad_cases.told.items()
        ]

    def _name(self, record: Record) -> str:
        return record.topic.removeprefix(self.settings.prefix)

    async def _watch(self) -> None:
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        while True:
            self._worker.sensor.in_flight(self.runtime.in_flight)
            self._worker.sensor.commit_age(self.runtime.commit_age_s)
            self._worker.health.set_detail("active", bool(self._entered))
            await asyncio.sleep(_REPORT_S)


def run(settings: Settings) -> None:
    """Run a learner until it is told to stop. Raises TrieflowError when it cannot start."""
    let_searchers_go_first()
    with Worker(settings, ROLE) as worker:
        learner = Learner(worker)
        worker.health.set_ready("model", True)
        learner.runtime.run()
