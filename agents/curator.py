"""The curator: keeps trees of ids good, and switches epochs. One at a time, fenced by Kafka.

A new epoch goes blue/green: the tree is published, every indexer gives its own documents an id in it, and when
all partitions say that they are complete, the curator makes it active. Nothing is encoded again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import structlog
from confluent_kafka import KafkaException

from agents import crash_points
from agents.codebook_log import CodebookLog, Codebooks, leaf_state
from agents.content_store import ContentStore
from agents.distilling import Distiller
from agents.epochs import Corpus, fit_reason, live_epochs, why_not_back
from agents.fitting import Fitter
from agents.model_log import FOLDER as BUNDLES
from agents.model_log import ModelLog
from agents.published_trees import tree_event, tree_parts
from agents.recall import SampledRecall, sample_recall
from agents.replica import Replica, wait_until_ready
from agents.retired_keys import RetiredKeys
from agents.shards import CheckpointSaver, open_shard
from agents.trees import IndexTrees
from agents.upkeep import Upkeep
from agents.worker import Worker, run_steps
from models.bundles import Bundle, BundleStore
from models.codebooks import Codebook, LeafChange
from models.encoders.registry import describe_encoder
from state.live_documents import fill, live_changes
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from state.warm_up import warm_up
from streams.clients import transactional_producer
from streams.errors import BrokerError, FencedError
from streams.events.assignments import EpochComplete
from streams.events.base import Event, LogPosition
from streams.events.codebooks import (
    ACTIVE_KEY,
    ROLL_BACK_KEY,
    ActiveEpoch,
    FitReason,
    Move,
    RollBack,
    epoch_key,
    leaf_key,
    part_key,
)
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
DELETES_AT_ONCE = 5_000
"""Keys of epochs that are over, deleted in one transaction; between two, documents may move."""
PARTS_AT_ONCE = 8
"""Parts of a tree in one transaction: 7 MB, which a slow network takes within its time."""
_CHURN = "churn/"

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
        self.index = LiveIndex(encoder.dimension)
        checkpoints = CheckpointSaver(settings, name=f"{ROLE}-{settings.worker}")
        self.shard: Shard = open_shard(
            settings.role_folder(ROLE) / "replica",
            settings=settings,
            cluster=cluster_id(settings),
            stamp=self._stamp,
            checkpoint=checkpoints.folder,
        )
        self._retired = RetiredKeys()
        self.codebooks = CodebookLog(
            settings,
            self._store,
            stamp=self._stamp,
            keeper=IndexTrees(self.index),
            on_record=self._retired.note,
        )
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
        self._fitter = Fitter(settings.index, self.index, stamp=self._stamp)
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
        for epoch in filter(codebooks.is_over, self.index.epochs()):
            self.index.forget_epoch(epoch)
        if codebooks.asked_back is not None:
            self._roll_back(codebooks, codebooks.asked_back)
        elif self._fitter.is_running:
            self._publish_when_fitted()
        elif codebooks.newest > codebooks.active:
            self._switch_when_complete(codebooks)
        elif (reason := self._fit_reason(codebooks)) is not None:
            self._fitter.start(codebooks.highest + 1, reason)
        elif over := self._retired.rest(codebooks.live_epochs(), most=DELETES_AT_ONCE):
            self._publish([("codebooks", key, None) for key in over])
        elif codebooks.active in codebooks.trees:
            self.upkeep.step(codebooks.trees[codebooks.active])
            self._sample_recall(codebooks.active)
            self._distil(codebooks.trees[codebooks.active])
        self._report()

    def stop(self) -> None:
        self._fitter.stop()
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
        since = self.codebooks.current.active_since
        if since not in self._churn:
            self._churn[since] = int(self.shard.meta_get(f"{_CHURN}{since}") or 0)
        if documents:
            self._churn[since] += documents
            self.shard.meta_put(f"{_CHURN}{since}", str(self._churn[since]))

    # -- epochs -----------------------------------------------------------------------------------------

    def _fit_reason(self, codebooks: Codebooks) -> FitReason | None:
        newest, recall = codebooks.trees.get(codebooks.newest), self.recall
        fell = recall.epoch == codebooks.active and recall.drop > self._settings.index.recall_drop
        corpus = Corpus(
            count=len(self.index),
            fitted_on=None if newest is None else max(newest.fitted_on, codebooks.gone_back_with),
            churn=self._churn.get(codebooks.active_since, 0),
            recall_fell=fell,
        )
        if fell:
            log.warning("sampled recall fell", fresh=recall.fresh, now=recall.now)
        return fit_reason(corpus, self._settings.index)

    def _publish_when_fitted(self) -> None:
        fitted = self._fitter.finished()
        if fitted is None:
            return
        tree, reason = fitted
        data = tree.to_bytes()
        uri = self._store.put(f"codebooks/{hashlib.sha256(data).hexdigest()}.safetensors", data)
        # Parts before the tree: what its record names is there. Parts without a tree are deleted as those of one
        # that is over.
        parts = enumerate(tree_parts(data))
        while several := list(islice(parts, PARTS_AT_ONCE)):
            self._publish([("codebooks", part_key(tree.epoch, number), part) for number, part in several])
        event = tree_event(tree, data, uri=uri, reason=reason)
        self._publish([("codebooks", epoch_key(tree.epoch), event)])

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
        self._activate(active, kept=live_epochs(codebooks.trees, epoch))
        log.info("epoch active", epoch=epoch, documents=sum(done.values()))

    def _roll_back(self, codebooks: Codebooks, asked: RollBack) -> None:
        """Serve the epoch before again, in which every document has kept its id; or drop the request."""
        problem = why_not_back(asked, fitted=codebooks.trees, active=codebooks.active)
        if problem is not None:
            log.warning("no roll-back", reason=problem)
            self._publish([("codebooks", ROLL_BACK_KEY, None)])
            return
        self._fitter.give_up()
        active = ActiveEpoch(
            epoch=asked.to_epoch,
            # Who serves the epoch that is given up has read so far: it goes back at once.
            switch_at=list(codebooks.switch_at),
            highest=codebooks.highest,
            documents=len(self.index),
        )
        self._activate(active, kept=[asked.to_epoch], beside=[("codebooks", ROLL_BACK_KEY, None)])
        log.info("epoch active", epoch=asked.to_epoch, gone_back_from=asked.from_epoch)

    def _activate(self, active: ActiveEpoch, *, kept: Sequence[int], beside: Iterable[Outgoing] = ()) -> None:
        """Switch, and delete the trees that are not kept, in one transaction: who serves learns of it first."""
        over: list[Outgoing] = [("codebooks", key, None) for key in self._retired.trees(kept)]
        self._publish([("codebooks", ACTIVE_KEY, active), *over, *beside])

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
        bundle = self.distiller.finished(parent=self.models.current)
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
            parent=manifest.parent,
        )
        active = ActiveModel(active=manifest.version, since=datetime.now(UTC))
        key = bundle_key(manifest.name, manifest.version)
        self._publish([("models", key, event), ("models", manifest.name, active)])

    def _report(self) -> None:
        health = self._worker.health
        health.set_detail("documents", len(self.index))
        health.set_detail("epoch", self.index.active_epoch)
        health.set_detail("moving", self.upkeep.moving)
        health.set_detail("fitting", self._fitter.is_running)
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
            if __debug__:
                crash_points.reached("in-decision")
            self._producer.commit_transaction(TRANSACTION_S)
        except KafkaException as error:
            if error.args[0].fatal():
                raise FencedError("another curator is at work") from error
            raise BrokerError(f"Kafka refused an epoch: {error}") from error
        if __debug__:
            crash_points.reached("after-decision")
        self.codebooks.catch_up()


def run(settings: Settings) -> None:
    """Run the curator until it is told to stop. Raises TrieflowError when it cannot go on."""
    run_steps(settings, ROLE, Curator, interval_s=INTERVAL_S)
