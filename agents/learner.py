"""The learner: joins feedback to impressions, keeps the click memory, and forgets. One is active, others stand by.

Words, caps and sessions cross query ids, so one process takes all partitions and keeps one shard. The steps of a
batch are those of the indexer:

1. Decode; what is bad becomes a dead letter.
2. Drop what is at or below the applied offset of its partition.
3. Join and count (`state/clicks/ledger.py`), take back what is to be forgotten (`state/clicks/forgetting.py`).
4. One fenced Kafka transaction: the full state of each key of `click-memory` and `profiles` that changed, receipts,
   bad cases, requests for trainings, dead letters.
5. One RocksDB write batch: impressions, counts, profiles, applied offsets.
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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agents import crash_points
from agents.fenced_writer import FencedWriter
from agents.interpreter import collect_seldom
from agents.ledger_records import SOURCE, ledger_records
from agents.outbox import Outgoing
from agents.rollouts import Rollouts
from agents.runtime import Runtime, RuntimeOptions
from agents.training_requests import TOPICS as TRAINED_ON
from agents.training_requests import DocumentEvents, due, request
from agents.worker import Worker, let_searchers_go_first
from models.encoders.registry import describe_encoder
from state.clicks.forgetting import Forgotten
from state.clicks.ledger import Ledger
from state.clicks.shard import ClickShard
from streams.codec import decode_body, decode_key
from streams.dead_letters import dead_letter
from streams.errors import DataError, StateError
from streams.events.forgetting import ForgetReceipt, ForgetRequest
from streams.events.impressions import Feedback, Impression
from streams.headers import TYPES, cloud_event, derived_id
from streams.records import Record
from streams.settings import Settings
from streams.topics import DLQ, cluster_id

log = structlog.get_logger()

ROLE = "learner"
TOPICS = ("forget", "impressions", "feedback")
"""Requests first: where the logs are read again, little has to be taken back."""
_MODELS: Mapping[str, type[Impression] | type[Feedback] | type[ForgetRequest]] = {
    "forget": ForgetRequest,
    "impressions": Impression,
    "feedback": Feedback,
}
BATCH_WAIT_S = 0.1
"""A click changes answers so much later, and few and large batches cost a fifth."""
THREADS = 2
"""Batches go one after the other; each further thread would keep memory of the largest batch that it had."""
UPKEEP_EVERY_S = 30.0
STRAGGLERS_S = 60.0
"""So long after a request lists may show a document that is deleted: by searchers that have not read of it."""
_REPORT_S = 0.5


@dataclass(frozen=True)
class Event:
    """A decoded record of one of the topics."""

    record: Record
    key: str
    body: Impression | Feedback | ForgetRequest


class LearnerPartition:
    """One partition number of all topics. A `PartitionHandler` of the runtime."""

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
        if self._learner.upkeep_is_due:  # asked twenty times a second: no thread for a no
            await self._learner.runtime.in_thread(self._learner.upkeep_when_due)
        if self._learner.rollout_is_due():
            await self._learner.runtime.in_thread(self._learner.roll_out)
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
        self._upkeep_at = 0.0
        self._compaction_is_due = False
        self._cluster = cluster_id(self.settings)
        self._stamp = describe_encoder(self.settings.encoder).stamp
        self._rollouts = Rollouts(self.settings)
        self._document_events = DocumentEvents(self.settings)
        self.runtime = Runtime(
            self.settings,
            RuntimeOptions(
                role=ROLE,
                topics=TOPICS,
                batch=self.settings.learning.batch,
                batch_wait_s=BATCH_WAIT_S,
                queue=2 * self.settings.learning.batch,
                single=True,
                threads=THREADS,
            ),
            handler=lambda partition: LearnerPartition(self, partition),
            health=worker.health,
            on_start=self._watch,
            on_opened=worker.sensor.partition_taken,
        )

    def start(self) -> None:
        """Read who serves whom."""
        self._rollouts.start()

    def stop(self) -> None:
        self._rollouts.stop()

    # -- partitions come and go -------------------------------------------------------------------------

    def enter(self) -> None:
        """With the first partition: fence whoever learned before, open the shard."""
        with self._lock:
            if self._entered == 0:
                self._writer = FencedWriter(self.settings, transactional_id=f"{self.settings.prefix}{ROLE}")
                self._shard = self._opened()
                self._compaction_is_due = self._shard.state.forgotten > 0  # one that was killed owes it
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
        return ClickShard(
            folder,
            self.settings.learning,
            cluster=self._cluster,
            stamp=self._stamp,
            max_age_s=self.settings.retention.impressions_h * 3_600,
            personal=self.settings.personal,
        )

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
            ledger = shard.ledger(self._rollouts.step)
            impressions = [event.body for event in events if isinstance(event.body, Impression)]
            ledger.read_ahead([event.key for event in events], impressions)
            for event in events:  # 3
                outgoing += self._taken(ledger, event)
            ledger.tidy()
            applied |= {self._name(record): record.offset for record in new}
            outgoing += self._training_requests(shard, ledger, partition, applied)
            if __debug__:
                crash_points.reached("3-4")
            self._writer.write([*outgoing, *ledger_records(ledger, self.settings)])  # 4
            if __debug__:
                crash_points.reached("4-5")
            shard.write(ledger, applied={(self._name(r), r.partition): r.offset for r in new})  # 5
            self._compaction_is_due |= ledger.outcomes["forgotten"] > 0
            if any(isinstance(event.body, ForgetRequest) for event in events):
                self._compaction_is_due, self._upkeep_at = True, 0.0
        for outcome, count in ledger.outcomes.items():
            self._worker.sensor.feedback_taken(outcome, count)
        if __debug__:
            crash_points.reached("5-6")
        self._worker.sensor.batch_committed(partition, len(new), time.perf_counter() - started)

    @property
    def upkeep_is_due(self) -> bool:
        return time.monotonic() >= self._upkeep_at

    def upkeep_when_due(self) -> None:
        """Give up feedback that waited for its impression for too long; leave no bytes of what was forgotten."""
        with self._lock:
            if self._shard is None or not self.upkeep_is_due:
                return
            self._upkeep_at = time.monotonic() + UPKEEP_EVERY_S
            ledger = self._shard.ledger()
            ledger.expire()
            if ledger.has_changed:
                self._shard.write(ledger, applied={})
            if self._compaction_is_due:
                self._shard.compact()
                self._compaction_is_due = False
        for outcome, count in ledger.outcomes.items():
            self._worker.sensor.feedback_taken(outcome, count)

    def rollout_is_due(self) -> bool:
        return self._rollouts.look()

    def roll_out(self) -> None:
        """Count sessions that have ended; take the next step of the rollout, if the figures or somebody say so."""
        with self._lock:
            if self._shard is None or self._writer is None:
                return
            ledger = self._shard.ledger(self._rollouts.step)
            ledger.trial.finish(ledger.state.newest - self.settings.rollout.session_s)
            self._shard.write(ledger, applied={})
            records, decided = self._rollouts.decide(ledger.trial.counts)
            self._writer.write(records)
            self._rollouts.decided(decided)

    def _training_requests(
        self, shard: ClickShard, ledger: Ledger, partition: int, applied: Mapping[str, int]
    ) -> list[Outgoing]:
        """A request for a training, when one is due with this batch."""
        run = due(ledger.state, self.settings.training, self._document_events.count())
        if run is None:
            return []
        every = {
            (name, number): applied[name] if number == partition else shard.applied(name, number)
            for name in TRAINED_ON
            for number in range(self.settings.partitions)
        }
        event = request(self.settings, *run, every)
        headers = cloud_event(event_type=TYPES["training"], source=SOURCE)
        log.info("a training is asked for", run=event.run)
        return [Outgoing(self.settings.topic("training"), event.run.encode(), event.to_json(), headers, 0)]

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
        key, name = decode_key(record.key), self._name(record)
        body = decode_body(record.value or b"", model=_MODELS[name], topic=name, headers=record.incoming)
        if not isinstance(body, Impression | Feedback | ForgetRequest):
            raise DataError("schema", "an event on this topic has a body")
        field = "request_id" if isinstance(body, ForgetRequest) else "query_id"
        if getattr(body, field) != key:
            raise DataError("bad_key", f"the key is not the {field} of the body", field=field)
        return Event(record, key, body)

    def _taken(self, ledger: Ledger, event: Event) -> list[Outgoing]:
        """Take an event in; returns the answer to a request."""
        written = event.record.timestamp_ms / 1_000
        if isinstance(event.body, Impression):
            ledger.shown(event.key, event.body)
        elif isinstance(event.body, Feedback):
            # Not later than it was written: what says it comes from the future would wait for ever.
            at = event.body.at
            ledger.given(event.key, event.body, written if at is None else min(written, at.timestamp()))
        else:
            until = written + self.settings.retention.forget_h * 3_600
            done = ledger.forget(event.body, at=written + STRAGGLERS_S, until=until)
            return [self._receipt(event, done)]
        return []

    def _receipt(self, event: Event, done: Forgotten) -> Outgoing:
        receipt = ForgetReceipt(request_id=event.key, at=datetime.now(UTC), **asdict(done))
        headers = cloud_event(
            event_type=TYPES["forgotten"],
            source=SOURCE,
            event_id=derived_id(
                topic=event.record.topic,
                partition=event.record.partition,
                offset=event.record.offset,
                operation="forgotten",
            ),
            extra=event.record.incoming.passed_on(),
        )
        return Outgoing(self.settings.topic("forgotten"), event.key.encode(), receipt.to_json(), headers)

    def _name(self, record: Record) -> str:
        return record.topic.removeprefix(self.settings.prefix)

    async def _watch(self) -> None:
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        while True:
            self._worker.sensor.in_flight(self.runtime.in_flight)
            self._worker.sensor.commit_age(self.runtime.commit_age_s)
            self._worker.health.set_detail("active", bool(self._entered))
            self._worker.health.set_detail("adapter", self._rollouts.told)
            if self._rollouts.failure is not None:
                self.runtime.crash(self._rollouts.failure)
                return
            await asyncio.sleep(_REPORT_S)


def run(settings: Settings) -> None:
    """Run a learner until it is told to stop. Raises TrieflowError when it cannot start."""
    let_searchers_go_first()
    with Worker(settings, ROLE) as worker:
        learner = Learner(worker)
        learner.start()
        worker.health.set_ready("model", True)
        collect_seldom()
        try:
            learner.runtime.run()
        finally:
            learner.stop()
