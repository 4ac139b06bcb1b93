"""The curator: counts documents, fits codebooks, and switches epochs. One at a time, fenced by Kafka.

A new epoch goes blue/green: the tree is published, every indexer gives its own documents an id in it, and when
all partitions say that they are complete, the curator makes it active. Nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType

import numpy as np
import structlog
from confluent_kafka import KafkaException
from numpy.typing import NDArray

from agents.codebook_log import CodebookLog, Codebooks
from agents.content_store import ContentStore
from agents.replica import Replica, wait_until_ready
from agents.shards import CheckpointSaver, open_shard
from agents.worker import Worker
from models.codebooks import Codebook, fit_codebook
from models.encoders.registry import describe_encoder
from state.records import LogRecord
from state.shard import Shard
from streams.clients import transactional_producer
from streams.errors import BrokerError, FencedError
from streams.events.assignments import EpochComplete
from streams.events.base import Event, LogPosition
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, CodebookEpoch, epoch_key
from streams.headers import TYPES, cloud_event
from streams.settings import Settings
from streams.topics import cluster_id

log = structlog.get_logger()

ROLE = "curator"
SOURCE = "trieflow/curator"
INTERVAL_S = 0.5
START_S = 300.0
TRANSACTION_S = 10.0


def wanted_at(newest: Codebook | None, *, ids_from: int, exact_up_to: int) -> int:
    """How many documents call for the next epoch: first `ids_from`, then `exact_up_to`, then every doubling."""
    if newest is None:
        return ids_from
    return max(exact_up_to, 2 * newest.fitted_on)


class Curator:
    """Decides about epochs from its replica of the log; everybody else applies them by log position."""

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        self._settings = settings
        self._worker = worker
        self._store = ContentStore(settings.content_store)
        self._stamp = describe_encoder(settings.encoder).stamp
        checkpoints = CheckpointSaver(settings, name=f"{ROLE}-{settings.worker}")
        self.shard: Shard = open_shard(
            settings.role_folder(ROLE) / "replica",
            settings=settings,
            cluster=cluster_id(settings),
            stamp=self._stamp,
            checkpoint=checkpoints.folder,
        )
        self.codebooks = CodebookLog(settings, self._store, stamp=self._stamp)
        self.replica = Replica(
            settings,
            self.shard,
            sensor=worker.sensor,
            on_records=self._note_completions,
            checkpoints=checkpoints,
        )
        self._completed_at: dict[int, dict[int, int]] = {}
        self._producer = transactional_producer(
            settings, transactional_id=f"{settings.prefix}curator", timeout_s=TRANSACTION_S
        )

    def start(self) -> None:
        """Fence every earlier curator, then read both logs to their ends."""
        self._producer.init_transactions(60.0)
        self.codebooks.start()
        self.replica.start()
        wait_until_ready(self.replica, timeout_s=START_S)
        self._worker.health.set_ready("model", True)

    def step(self) -> None:
        """Look once, act at most once. Raises BrokerError, FencedError, ModelError."""
        for follower in (self.replica, self.codebooks):
            if follower.failure is not None:
                raise BrokerError(f"a log cannot be followed: {follower.failure}") from follower.failure
        codebooks = self.codebooks.current
        if codebooks.newest > codebooks.active:
            self._switch_when_complete(codebooks)
            return
        newest = codebooks.trees.get(codebooks.newest)
        count = self.shard.count()
        index = self._settings.index
        if count >= wanted_at(newest, ids_from=index.ids_from, exact_up_to=index.exact_up_to):
            self._fit(codebooks.newest + 1)

    def stop(self) -> None:
        self.replica.stop()
        self.codebooks.stop()
        self.shard.close()

    def _note_completions(
        self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]
    ) -> None:
        for record in records:
            if isinstance(record.control, EpochComplete):
                at = self._completed_at.setdefault(record.control.epoch, {})
                at[record.control.partition] = record.offset

    def _switch_when_complete(self, codebooks: Codebooks) -> None:
        epoch = codebooks.newest
        done = self.shard.completed(epoch)
        if len(done) < self._settings.partitions:
            return
        # After a restart the offsets of old completions are unknown: where the replica stands now is later.
        known = self._completed_at.get(epoch, {})
        positions = [
            LogPosition(partition=p, offset=known.get(p, self.replica.positions[p] - 1)) for p in sorted(done)
        ]
        self._publish({ACTIVE_KEY: ActiveEpoch(epoch=epoch, switch_at=positions)})
        log.info("epoch active", epoch=epoch, documents=sum(done.values()))

    def _fit(self, epoch: int) -> None:
        started = time.perf_counter()
        vectors = self._fused_vectors()
        leaves = max(2, len(vectors) // self._settings.index.documents_per_leaf)
        book = fit_codebook(
            vectors, epoch=epoch, stamp=self._stamp, leaves=leaves, seed=self._settings.index.seed
        )
        data = book.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        uri = self._store.put(f"codebooks/{digest}.safetensors", data)
        event = CodebookEpoch(
            epoch=epoch,
            stamp=self._stamp,
            uri=uri,
            sha256=digest,
            fitted_on=len(vectors),
            leaves=len(book.leaves),
        )
        self._publish({epoch_key(epoch): event})
        seconds = round(time.perf_counter() - started, 3)
        log.info(
            "codebook fitted", epoch=epoch, leaves=len(book.leaves), fitted_on=len(vectors), seconds=seconds
        )

    def _fused_vectors(self) -> NDArray[np.float32]:
        """The fused vectors of all documents, (n, d)."""
        rows = [
            vector.array
            for document_id in self.shard.document_ids()
            for vector in self.shard.vectors(document_id)
            if vector.kind == "fused" and vector.stamp == self._stamp
        ]
        return np.stack(rows).astype(np.float32)

    def _publish(self, events: Mapping[str, Event]) -> None:
        """One transaction on `codebooks`, then wait until we have read it back ourselves."""
        headers = cloud_event(event_type=TYPES["codebooks"], source=SOURCE)
        try:
            self._producer.begin_transaction()
            for key, event in events.items():
                self._producer.produce(
                    self._settings.topic("codebooks"),
                    key=key.encode(),
                    value=event.to_json(),
                    headers=headers,
                )
            self._producer.commit_transaction(TRANSACTION_S)
        except KafkaException as error:
            if error.args[0].fatal():
                raise FencedError("another curator is at work") from error
            raise BrokerError(f"Kafka refused an epoch: {error}") from error
        self.codebooks.catch_up()


def run(settings: Settings) -> None:
    """Run the curator until it is told to stop. Raises TrieflowError when it cannot go on."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with Worker(settings, ROLE) as worker:
        curator = Curator(worker)
        try:
            curator.start()
            while not stopping.wait(INTERVAL_S):
                worker.health.beat()
                curator.step()
        finally:
            curator.stop()
