"""The searcher: a full replica of the index in memory, and answers to `queries`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
from cachetools import TTLCache

from agents import crash_points
from agents.answering import Answered, Answering
from agents.asks import Ask, answer, checked, failure, impression, not_taken, read_ask
from agents.browsing import Browsing
from agents.click_log import ClickLog
from agents.codebook_log import CodebookLog, Codebooks
from agents.content_store import ContentStore
from agents.encoding import EncodingService
from agents.epochs import PROVISIONAL
from agents.impressions import Impressions
from agents.index_snapshots import IndexSnapshots
from agents.interpreter import favour_answers
from agents.keyed_hashes import KeyedHashes
from agents.model_log import ModelLog
from agents.outbox import Outbox, Outgoing, RefusedError
from agents.profile_log import ProfileLog
from agents.pseudonyms import Pseudonym, Pseudonyms
from agents.query_vectors import PreparedPart, QueryVectors
from agents.replica import Replica, wait_until_ready
from agents.runtime import Runtime, RuntimeOptions
from agents.searchable import Searchable
from agents.shards import CheckpointSaver, open_shard
from agents.trees import IndexTrees
from agents.worker import Worker
from state.live_index import LiveIndex
from state.records import LogRecord
from state.warm_up import warm_up
from streams.errors import BrokerError, DataError
from streams.events.base import LogPosition
from streams.events.impressions import Impression
from streams.events.queries import Browse, Result
from streams.records import Record
from streams.settings import Settings
from streams.topics import DLQ, cluster_id

log = structlog.get_logger()

T = TypeVar("T")
Reply = tuple[list[Outgoing], Callable[[], Awaitable[Outgoing]] | None]
"""What is sent now, and an impression that has to wait for something."""

ROLE = "searcher"
THREADS = 8
CONCURRENT_BATCHES = 64
_TOPIC_CHECK_S = 30.0
_READ_AFTER_POLL_S = 0.002


class QueryPartition:
    """One partition of `queries`: answers go out as they are ready. A `PartitionHandler` of the runtime."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def open(self) -> None:
        """Nothing to take: any searcher can answer any query."""

    async def handle(self, records: Sequence[Record]) -> None:
        await asyncio.gather(*(self._searcher.answer(record) for record in records))

    async def between_batches(self) -> bool:
        return False

    async def close(self) -> None:
        """Nothing to give away."""

    def next_offsets(self) -> Mapping[str, int]:
        return {}


@dataclass(frozen=True)
class _Seen:
    """How far the logs were read when a search began."""

    codebooks: Codebooks
    memory_offset: int
    fresh_to: list[LogPosition]


class Searcher:
    """Holds the replica, the live index and the encoder; answers queries."""

    def __init__(self, worker: Worker) -> None:
        self._settings: Settings = worker.settings
        self._worker = worker
        store = ContentStore(self._settings.content_store)
        self._encoding = EncodingService(worker.load_encoder(), sensor=worker.sensor)
        description = self._encoding.description
        warm_up()
        checkpoints = CheckpointSaver(self._settings, name=f"{ROLE}-{self._settings.worker}")
        cluster = cluster_id(self._settings)
        self._shard = open_shard(
            self._settings.role_folder(ROLE) / "replica",
            settings=self._settings,
            cluster=cluster,
            stamp=description.stamp,
            checkpoint=checkpoints.folder,
        )
        hashes = KeyedHashes(self._settings)
        self._held = Searchable(
            self._settings,
            self._settings.role_folder(ROLE),
            shard=self._shard,
            encoder=description,
            hash_word=hashes.word,
            as_query=self._encoding.as_query,
        )
        self._index, self._searching = self._held.index, self._held.searching
        self._snapshots = IndexSnapshots(
            self._settings,
            self._settings.role_folder(ROLE) / "index",
            index=self._index,
            dense=self._held.dense,
            lexical=self._held.lexical,
            cluster=cluster,
            stamp=description.stamp,
        )
        self._clicks = ClickLog(self._settings, self._held.memory)
        self._browsing = Browsing(self._index, self._shard)
        self._outbox = Outbox(self._settings)
        self._pseudonyms = Pseudonyms(
            self._settings,
            self._settings.role_folder(ROLE) / "salts",
            cluster=cluster,
            hashes=hashes,
            outbox=self._outbox,
        )
        self._profiles = ProfileLog(
            self._settings, self._settings.role_folder(ROLE) / "profiles", cluster=cluster
        )
        self._vectors = QueryVectors(
            self._settings, encoding=self._encoding, store=store, like=self._searching.like
        )
        self._codebooks = CodebookLog(
            self._settings,
            store,
            stamp=description.stamp,
            keeper=IndexTrees(self._index),
            on_change=self._switch_epoch,
        )
        self._replica = Replica(
            self._settings,
            self._shard,
            sensor=worker.sensor,
            on_records=self._take,
            on_advance=self._switch_epoch,
            checkpoints=checkpoints,
        )
        self._models = ModelLog(self._settings, stamp=description.stamp)
        self._answering = Answering(
            self._settings,
            searching=self._searching,
            models=self._models,
            clicks=self._clicks,
            stamp=description.stamp,
        )
        self._followers = (
            self._replica,
            self._codebooks,
            self._models,
            self._clicks,
            self._pseudonyms,
            self._profiles,
            self._held.lexical,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="search")
        self._topics: TTLCache[str, bool] = TTLCache(1_024, _TOPIC_CHECK_S)
        self._topics_lock = threading.Lock()
        self._impressions = Impressions(self._settings, stamp=description.stamp)
        self.runtime = Runtime(
            self._settings,
            RuntimeOptions(
                role=ROLE,
                topics=("queries",),
                batch=self._settings.search.batch,
                concurrent_batches=CONCURRENT_BATCHES,
            ),
            handler=lambda partition: QueryPartition(self),
            health=worker.health,
            on_start=self._watch,
        )

    # -- the replica ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fill memory from disk, then follow both logs."""
        started = time.perf_counter()
        self._codebooks.start()
        self._models.start()
        self._clicks.start()
        self._pseudonyms.start()
        self._profiles.start()
        if not self._snapshots.load(self._shard):
            self._held.fill()
        self._held.begin()
        self._index.activate(epoch_to_begin_with(self._index, self._codebooks.current))
        self._replica.start()
        self._switch_epoch()
        self._held.use(self._models.current)
        log.info(
            "replica filled", documents=len(self._index), seconds=round(time.perf_counter() - started, 3)
        )
        self._worker.health.set_ready("model", True)
        self._worker.health.set_ready("replica", False, "reading the log")

    def catch_up(self) -> None:
        """Wait until the replica has what stood in the log at the start; only then queries are taken.

        Meanwhile other searchers answer; without any, queries wait on Kafka as long as they would here. Raises
        BrokerError when the log cannot be followed.
        """
        wait_until_ready(self._replica)
        favour_answers()

    def stop(self) -> None:
        self._replica.stop()
        self._codebooks.stop()
        self._models.stop()
        self._clicks.stop()
        self._pseudonyms.stop()
        self._profiles.stop()
        self._outbox.close()
        self._held.close()

    def _take(self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]) -> None:
        self._held.take(records, timestamps)
        newest_ms = max(timestamps.values(), default=0)
        if newest_ms:
            self._worker.sensor.freshness(max(0.0, time.time() - newest_ms / 1_000))

    def _switch_epoch(self) -> None:
        """Serve the active epoch as soon as this replica has every document's id in it."""
        codebooks = self._codebooks.current
        if codebooks.active != self._index.active_epoch and self._replica.has(codebooks.switch_at):
            self._index.activate(codebooks.active)
            self._worker.sensor.epoch_active(codebooks.active)
            log.info("epoch active", epoch=codebooks.active)
        if codebooks.active == self._index.active_epoch:
            for epoch in filter(codebooks.is_over, self._index.epochs()):
                self._index.forget_epoch(epoch)

    def _save_when_due(self) -> None:
        self._held.dense.save_when_due()
        if self._replica.is_ready:
            self._snapshots.save_when_due(lambda: self._replica.positions)

    async def _watch(self) -> None:
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        """Say when the replica is ready; end the process when it cannot be followed any more."""
        health = self._worker.health
        while True:
            for follower in self._followers:
                if follower.failure is not None:
                    self.runtime.crash(follower.failure)
                    return
            health.set_ready(
                "replica", self._replica.is_ready, "" if self._replica.is_ready else "reading the log"
            )
            health.set_detail("documents", len(self._index))
            health.set_detail("vectors", self._index.rows)
            health.set_detail("behind", self._searching.behind())
            health.set_detail("epoch", self._index.active_epoch)
            health.set_detail("remembered", len(self._clicks.memory))
            self._switch_epoch()
            await self._in_thread(lambda: self._held.use(self._models.current))
            await self._in_thread(self._save_when_due)
            serving = self._held.serving
            health.set_detail("decoder", None if serving is None else serving.reference)
            active = self._models.arms.active
            health.set_detail("adapter", None if active is None else active.reference)
            self._worker.sensor.in_flight(self.runtime.in_flight)
            self._worker.sensor.commit_age(self.runtime.commit_age_s)
            await asyncio.sleep(0.2)

    # -- queries ----------------------------------------------------------------------------------------

    async def answer(self, record: Record) -> None:
        """Answer one query; returns when the answer is confirmed. Raises BrokerError only."""
        started = time.perf_counter()
        try:
            ask = await self._in_thread(
                lambda: read_ask(record, self._settings, topic_exists=self._topic_exists)
            )
            outgoing, shown = await self._answered(ask, started)
        except DataError as error:
            outgoing, shown = self._failure(record, error), None
        except BrokerError:
            raise
        except Exception as error:  # a bug in one answer must not stop the stream
            log.exception("query failed", partition=record.partition, offset=record.offset)
            wrapped = DataError("internal", f"the search failed: {error!r}"[:500])
            wrapped.__cause__ = error
            outgoing, shown = self._failure(record, wrapped), None
        if __debug__:
            crash_points.reached("mid-answer")
        try:
            await self._outbox.send(outgoing)
        except RefusedError as refusal:
            await self._outbox.send(not_taken(record, refusal, self._settings))
        if shown is not None:
            if __debug__:
                crash_points.reached("before-impression")
            await self._outbox.send([await shown()])
        if __debug__:
            crash_points.reached("after-answer")

    def _failure(self, record: Record, error: DataError) -> list[Outgoing]:
        outgoing = failure(record, error, self._settings)
        self._worker.sensor.query_failed(error.code)
        if any(each.topic.endswith(DLQ) for each in outgoing):
            self._worker.sensor.dead_letter("queries", error.code)
        return outgoing

    async def _answered(self, ask: Ask, started: float) -> Reply:
        self._searching.check(ask.query)
        await self._wait_for_replica(ask)
        if ask.query.browse is not None:
            return await self._browsed(ask, ask.query.browse, started), None
        parts = await self._vectors.prepare(ask)
        ready = time.perf_counter()
        seen = self._seen()
        answered, known = await self._in_thread(lambda: self._searched(ask, parts, seen.codebooks))
        found = answered.found
        took = {"prepare": ready - started, **found.seconds, "total": time.perf_counter() - started}
        result = self._result(ask, answered, took, seen)
        stages_ms = {stage: seconds * 1_000 for stage, seconds in took.items()}
        self._worker.sensor.query_answered(found.mode, stages_ms, len(found.hits))
        if not ask.query.learn:
            return checked([answer(ask, result)]), None
        shown = self._impressions.of(ask.query, result, answered)
        outgoing = checked([answer(ask, result), impression(ask, shown, self._settings)])
        if ask.query.user_id is None:
            return outgoing, None
        if known is None:
            return outgoing[:1], partial(self._shown_to_somebody_new, ask, shown, ask.query.user_id)
        return [outgoing[0], impression(ask, known.put_on(shown), self._settings)], None

    def _searched(
        self, ask: Ask, parts: Sequence[PreparedPart], codebooks: Codebooks
    ) -> tuple[Answered, Pseudonym | None]:
        """The answer, and who asked, where that is known; what they chose is read while the query is encoded."""
        encoded, user = self._vectors.submit(ask, parts), ask.query.user_id
        known = None if user is None else self._pseudonyms.known(user)
        is_personal = known is not None and ask.query.personal and self._settings.personal.weight > 0
        history = self._profiles.of(known.person) if known is not None and is_personal else ()
        return self._answering.answer(ask, encoded, codebooks, history=history), known

    async def _shown_to_somebody_new(self, ask: Ask, shown: Impression, user_id: str) -> Outgoing:
        """The impression of a user whose salt has to be made first."""
        pseudonym = await self._pseudonyms.of(user_id)
        return impression(ask, pseudonym.put_on(shown), self._settings)

    async def _browsed(self, ask: Ask, browse: Browse, started: float) -> list[Outgoing]:
        codebooks = self._codebooks.current
        branches, epoch = await self._in_thread(lambda: self._browsing.branches(ask.query, browse))
        took_ms = (time.perf_counter() - started) * 1_000
        result = Result(
            query_id=ask.query_id,
            branches=branches,
            epoch=epoch,
            codebook_offset=codebooks.offset,
            fresh_to=self._replica.fresh_to(),
            took_ms={"total": round(took_ms, 3)},
        )
        self._worker.sensor.query_answered("browse", {"total": took_ms}, len(branches))
        return checked([answer(ask, result)])

    async def _wait_for_replica(self, ask: Ask) -> None:
        """`read_after`: wait for the log, at most as long as the deadline and the setting allow."""
        wanted = ask.query.read_after or []
        if any(position.partition >= self._settings.partitions for position in wanted):
            message = f"the log has {self._settings.partitions} partitions, counted from 0"
            raise DataError("schema", message, field="read_after")
        patience_s = min(ask.remaining_s, self._settings.search.read_after_wait_s)
        deadline = time.monotonic() + patience_s
        while not self._replica.has(wanted):
            if time.monotonic() >= deadline:
                raise DataError("not_yet", "this replica has not read up to read_after yet; ask again")
            await asyncio.sleep(_READ_AFTER_POLL_S)

    def _seen(self) -> _Seen:
        return _Seen(self._codebooks.current, self._clicks.offset, self._replica.fresh_to())

    def _result(self, ask: Ask, answered: Answered, took: Mapping[str, float], seen: _Seen) -> Result:
        newest, until, found = self._index.newest_arrival, self._replica.fresh_until(), answered.found
        return Result(
            query_id=ask.query_id,
            hits=found.hits,
            mode=found.mode,
            model_version=self._encoding.description.stamp,
            models=answered.models,
            bundle=found.bundle,
            unsure=found.unsure,
            low_confidence=found.low_confidence or None,
            epoch=found.epoch,
            codebook_offset=seen.codebooks.offset,
            memory_offset=seen.memory_offset,
            fresh_to=seen.fresh_to,
            fresh_until=None if until == seen.fresh_to else until,
            behind=self._searching.behind() or None,
            newest_document_age_ms=None if newest is None else round((time.time() - newest) * 1_000, 1),
            took_ms={stage: round(seconds * 1_000, 3) for stage, seconds in took.items()},
        )

    def _topic_exists(self, name: str) -> bool:
        with self._topics_lock:
            known = self._topics.get(name)
        if known is None:
            known = self._outbox.topic_exists(name)
            with self._topics_lock:
                self._topics[name] = known
        return known

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def epoch_to_begin_with(index: LiveIndex, codebooks: Codebooks) -> int:
    """What a searcher serves until it has read up to the switch to the active epoch.

    The epoch before, as it did when it stopped, where every document here has an id in it; else epoch 0.
    """
    kept = [epoch for epoch in codebooks.live_epochs() if epoch < codebooks.active]
    held = {epoch: int(index.path(epoch).sizes()[1].sum()) for epoch in kept if epoch in index.epochs()}
    return max((epoch for epoch, count in held.items() if count == len(index)), default=PROVISIONAL)


def run(settings: Settings) -> None:
    """Run a searcher until it is told to stop. Raises TrieflowError when it cannot start."""
    with Worker(settings, ROLE) as worker:
        searcher = Searcher(worker)
        try:
            searcher.start()
            searcher.catch_up()
            searcher.runtime.run()
        finally:
            searcher.stop()
