"""The curator: keeps trees of ids good, and switches epochs. One at a time, fenced by Kafka.

A new epoch goes blue/green: the tree is published, every indexer gives its own documents an id in it, and when
all partitions say that they are complete, the curator makes it active. Nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import FrameType

import faiss
import numpy as np
import structlog
from confluent_kafka import KafkaException
from numpy.typing import NDArray

from agents.codebook_log import CodebookLog, Codebooks, leaf_state
from agents.content_store import ContentStore
from agents.distilling import Distiller
from agents.model_log import FOLDER as BUNDLES
from agents.model_log import ModelLog
from agents.recall import SampledRecall, sample_recall
from agents.replica import Replica, wait_until_ready
from agents.shards import CheckpointSaver, open_shard
from agents.trees import IndexTrees
from agents.upkeep import Upkeep
from agents.worker import Worker
from models.bundles import Bundle, BundleStore
from models.codebooks import Codebook, LeafChange, fit_codebook
from models.encoders.registry import describe_encoder
from state.live_documents import fill, live_changes
from state.live_index import LiveIndex, in_numbers
from state.records import LogRecord
from state.shard import Shard
from state.warm_up import warm_up
from streams.clients import transactional_producer
from streams.errors import BrokerError, FencedError
from streams.events.assignments import EpochComplete
from streams.events.base import Event, LogPosition
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, CodebookEpoch, Move, epoch_key, leaf_key
from streams.events.models import ActiveModel, ModelBundle, bundle_key
from streams.headers import TYPES, cloud_event
from streams.settings import Settings
from streams.topics import cluster_id

log = structlog.get_logger()

ROLE = "curator"
SOURCE = "trieflow/curator"
INTERVAL_S = 0.5
START_S = 600.0
TRANSACTION_S = 10.0
REPAIRS_PER_RECORD = 4
FEWEST_TO_DISTIL = 5_000
"""Documents below which a decoder learns nothing that geometry does not say."""
RECALL_EVERY_S = 30.0
RECALL_DOCUMENTS = 20
PROGRESS_EVERY_S = 5.0
_CHURN = "churn/"
_AT_ONCE = 65_536

Outgoing = tuple[str, str, Event | None]
"""Topic, key, event; None deletes what the key says."""


class Curator:
    """Decides about trees from its replica of the log; everybody else applies that by log position."""

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        self._settings = settings
        self._worker = worker
        self._store = ContentStore(settings.content_store)
        encoder = describe_encoder(settings.encoder)
        self._stamp = encoder.stamp
        warm_up()
        # A fit must leave something for the workers beside it.
        faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        self.index = LiveIndex(encoder.dimension)
        checkpoints = CheckpointSaver(settings, name=f"{ROLE}-{settings.worker}")
        self.shard: Shard = open_shard(
            settings.role_folder(ROLE) / "replica",
            settings=settings,
            cluster=cluster_id(settings),
            stamp=self._stamp,
            checkpoint=checkpoints.folder,
        )
        self.codebooks = CodebookLog(settings, self._store, stamp=self._stamp, keeper=IndexTrees(self.index))
        self.replica = Replica(
            settings, self.shard, sensor=worker.sensor, on_records=self._take, checkpoints=checkpoints
        )
        self.models = ModelLog(settings, stamp=self._stamp)
        self.distiller = Distiller(
            settings,
            index=self.index,
            shard=self.shard,
            stamp=self._stamp,
            folder=settings.role_folder(ROLE) / "distil",
        )
        self.upkeep = Upkeep(self.index, self._publish_changes)
        self.recall = SampledRecall()
        self._completed_at: dict[int, dict[int, int]] = {}
        self._churn: dict[int, int] = {}
        self._bundles = BundleStore(f"{settings.content_store}/{BUNDLES}")
        self._fitting: Future[Codebook] | None = None
        self._fitter = ThreadPoolExecutor(1, thread_name_prefix="fit")
        self._recall_at = 0.0
        self._random = np.random.default_rng(settings.index.seed)
        self._producer = transactional_producer(
            settings, transactional_id=f"{settings.prefix}curator", timeout_s=TRANSACTION_S
        )

    def start(self) -> None:
        """Fence every earlier curator, then read both logs to their ends."""
        self._producer.init_transactions(60.0)
        self.codebooks.start()
        self.models.start()
        fill(self.index, self.shard, stamp=self._stamp)
        self.replica.start()
        wait_until_ready(self.replica, timeout_s=START_S)
        self._worker.health.set_ready("model", True)

    def step(self) -> None:
        """Look once, act at most once. Raises BrokerError, FencedError, ModelError."""
        for follower in (self.replica, self.codebooks, self.models):
            if follower.failure is not None:
                raise BrokerError(f"a log cannot be followed: {follower.failure}") from follower.failure
        codebooks = self.codebooks.current
        self.index.activate(codebooks.active)
        if self._fitting is not None:
            self._publish_when_fitted()
        elif codebooks.newest > codebooks.active:
            self._switch_when_complete(codebooks)
        elif self._is_fit_due(codebooks):
            self._fitting = self._fitter.submit(self._fit, codebooks.highest + 1)
        elif codebooks.active in codebooks.trees:
            self.upkeep.step(codebooks.trees[codebooks.active])
            self._sample_recall(codebooks.active)
            self._distil(codebooks.trees[codebooks.active])
        self._report()

    def stop(self) -> None:
        self._fitter.shutdown(wait=False, cancel_futures=True)
        self.distiller.stop()
        self.models.stop()
        self.replica.stop()
        self.codebooks.stop()
        self.shard.close()

    # -- the log ----------------------------------------------------------------------------------------

    def _take(self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]) -> None:
        before = len(self.index)
        self.index.apply(live_changes(records, stamp=self._stamp))
        self.index.repair(REPAIRS_PER_RECORD * len(records))
        came_or_went = abs(len(self.index) - before)
        for record in records:
            if isinstance(record.control, EpochComplete):
                at = self._completed_at.setdefault(record.control.epoch, {})
                at[record.control.partition] = record.offset
            came_or_went += record.tombstone is not None
        self._add_churn(came_or_went)
        self.upkeep.note(records)

    def _add_churn(self, documents: int) -> None:
        epoch = self.codebooks.current.active
        if epoch not in self._churn:
            self._churn[epoch] = int(self.shard.meta_get(f"{_CHURN}{epoch}") or 0)
        if documents:
            self._churn[epoch] += documents
            self.shard.meta_put(f"{_CHURN}{epoch}", str(self._churn[epoch]))

    # -- epochs -----------------------------------------------------------------------------------------

    def _is_fit_due(self, codebooks: Codebooks) -> bool:
        """First `ids_from` documents, then `exact_up_to`, then as many that came or went as it was fitted on.

        Also when the sampled recall has fallen.
        """
        index, count = self._settings.index, len(self.index)
        newest = codebooks.trees.get(codebooks.newest)
        if newest is None:
            return count >= index.ids_from
        if count < index.exact_up_to:
            return False
        if newest.fitted_on < index.exact_up_to:
            return True
        churn = self._churn.get(codebooks.active, 0)
        if self.recall.epoch == codebooks.active and self.recall.drop > index.recall_drop:
            log.warning("sampled recall fell", fresh=self.recall.fresh, now=self.recall.now)
            return churn > newest.fitted_on // 10  # more of the same documents would give the same tree
        return churn >= newest.fitted_on or count >= 2 * newest.fitted_on

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
        active = ActiveEpoch(epoch=epoch, switch_at=positions, highest=codebooks.highest)
        self._publish([("codebooks", ACTIVE_KEY, active)])
        for over in self.index.epochs() - set(self.codebooks.current.live_epochs()):
            self.index.forget_epoch(over)
        log.info("epoch active", epoch=epoch, documents=sum(done.values()))

    def _fit(self, epoch: int) -> Codebook:
        """On a thread of its own: upkeep waits, but the log is followed and health is told."""
        started = time.perf_counter()
        index = self._settings.index
        vectors = self._vectors()
        leaves = max(2, len(vectors) // index.documents_per_leaf)
        tree = fit_codebook(
            vectors,
            epoch=epoch,
            stamp=self._stamp,
            leaves=leaves,
            seed=index.seed,
            progress=_FitProgress(epoch),
        )
        seconds = round(time.perf_counter() - started, 3)
        log.info("codebook fitted", epoch=epoch, leaves=len(tree), fitted_on=len(vectors), seconds=seconds)
        return tree

    def _vectors(self) -> NDArray[np.float16]:
        """The vectors of all documents that their leaves follow from, (n, d), in the order of slots."""
        slots = in_numbers(self.index.every())
        vectors = np.empty((len(slots), self.index.dimension), dtype=np.float16)
        for at in range(0, len(slots), _AT_ONCE):
            with self.index.reading():
                vectors[at : at + _AT_ONCE] = self.index.fused(slots[at : at + _AT_ONCE])
        return vectors

    def _publish_when_fitted(self) -> None:
        if self._fitting is None or not self._fitting.done():
            return
        tree = self._fitting.result()
        self._fitting = None
        data = tree.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        event = CodebookEpoch(
            epoch=tree.epoch,
            stamp=self._stamp,
            uri=self._store.put(f"codebooks/{digest}.safetensors", data),
            sha256=digest,
            fitted_on=tree.fitted_on,
            leaves=len(tree),
        )
        self._publish([("codebooks", epoch_key(tree.epoch), event)])

    # -- upkeep -----------------------------------------------------------------------------------------

    def _publish_changes(self, epoch: int, changes: Sequence[LeafChange], moves: Sequence[Move]) -> None:
        """The leaves and the moves that follow from them: all of them are decided, or nothing is."""
        offset = self.codebooks.current.offset
        path = self.index.path(epoch)
        leaves: list[Outgoing] = [
            ("codebooks", leaf_key(epoch, change.leaf), leaf_state(change, size=path.size(change.leaf)))
            for change in changes
        ]
        asked = [move.model_copy(update={"codebook_offset": max(0, offset)}) for move in moves]
        self._publish([*leaves, *(("moves", move.document_id, move) for move in asked)])

    def _sample_recall(self, epoch: int) -> None:
        if len(self.index) <= self._settings.index.exact_up_to:
            return
        if time.monotonic() - self._recall_at < RECALL_EVERY_S:
            return
        self._recall_at = time.monotonic()
        samples = sample_recall(
            self.index, self._settings.search, documents=RECALL_DOCUMENTS, random=self._random
        )
        self.recall.add(epoch, samples)

    def _distil(self, tree: Codebook) -> None:
        """Each tree that searches walk gets a decoder."""
        bundle = self.distiller.finished()
        if bundle is not None:
            self._publish_bundle(bundle)
        served = self.models.current
        if served is not None and served.manifest.codebook_epoch == tree.epoch:
            return
        if len(self.index) > max(self._settings.index.exact_up_to, FEWEST_TO_DISTIL):
            self.distiller.start(tree)

    def _publish_bundle(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        event = ModelBundle(
            name=manifest.name,
            version=manifest.version,
            uri=self._bundles.write(bundle),
            encoder_stamp=manifest.encoder_stamp,
            codebook_epoch=manifest.codebook_epoch,
        )
        active = ActiveModel(active=manifest.version, since=datetime.now(UTC))
        key = bundle_key(manifest.name, manifest.version)
        self._publish([("models", key, event), ("models", manifest.name, active)])

    def _report(self) -> None:
        health = self._worker.health
        health.set_detail("documents", len(self.index))
        health.set_detail("epoch", self.index.active_epoch)
        health.set_detail("moving", self.upkeep.moving)
        health.set_detail("fitting", self._fitting is not None)
        health.set_detail("distilling", self.distiller.is_running)
        health.set_detail("sampled_recall", self.recall.now)
        if self.recall.now is not None:
            self._worker.sensor.sampled_recall(self.recall.now)

    # -- publishing -------------------------------------------------------------------------------------

    def _publish(self, outgoing: Sequence[Outgoing]) -> None:
        """One transaction, then wait until we have read back ourselves what is on `codebooks`."""
        try:
            self._producer.begin_transaction()
            for topic, key, event in outgoing:
                self._producer.produce(
                    self._settings.topic(topic),
                    key=key.encode(),
                    value=None if event is None else event.to_json(),
                    headers=cloud_event(event_type=TYPES[topic], source=SOURCE),
                )
                self._producer.poll(0)
            self._producer.commit_transaction(TRANSACTION_S)
        except KafkaException as error:
            if error.args[0].fatal():
                raise FencedError("another curator is at work") from error
            raise BrokerError(f"Kafka refused an epoch: {error}") from error
        self.codebooks.catch_up()


class _FitProgress:
    """Tells in the log how far a fit is, not more often than every few seconds."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._started = self._told = time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if share > 0 and now - self._told > PROGRESS_EVERY_S:
            self._told = now
            left = round((now - self._started) * (1 - share) / share)
            log.info("fitting", epoch=self._epoch, done=round(share, 3), seconds_left=left)


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
