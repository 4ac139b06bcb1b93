"""The indexer: takes partitions of `documents` and `moves`, and commits their events (see `commit.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from agents.assignment_log import LogEntry, read_log_record
from agents.codebook_log import CodebookLog, Codebooks
from agents.commit import Commit, Tools
from agents.content_store import ContentStore
from agents.encoding import EncodingService
from agents.fetching import Fetcher
from agents.partition_log import PartitionLog
from agents.placement import Placement
from agents.preparation import Preparer
from agents.runtime import Runtime, RuntimeOptions
from agents.shards import CheckpointSaver, open_shard
from agents.trees import Trees
from agents.worker import Worker, let_searchers_go_first
from state.columns import SharedMemory
from state.shard import Shard
from state.warm_up import warm_up
from streams.events.assignments import EpochComplete
from streams.headers import derived_id
from streams.records import Record, read_to_end
from streams.settings import Settings
from streams.topics import cluster_id

log = structlog.get_logger()

ROLE = "indexer"
DOWNLOADS = 16
"""Pictures fetched at the same time, over all partitions."""
RE_ID_BATCH = 16
"""Documents re-ided in one transaction; between two of them, events go first."""

_REPORT_S = 0.5


class Partition:
    """One partition of the index: the fence, the shard, the commit. A `PartitionHandler` of the runtime."""

    def __init__(self, indexer: Indexer, partition: int) -> None:
        self._indexer = indexer
        self._partition = partition
        self._shard: Shard | None = None
        self._commit: Commit | None = None
        self._placement: Placement | None = None
        self._scanned: tuple[list[int], str] = ([], "")
        self._checkpoints = CheckpointSaver(indexer.settings, name=f"{ROLE}/{partition}")

    async def open(self) -> None:
        await self._indexer.runtime.in_thread(self._take)

    async def handle(self, records: Sequence[Record]) -> None:
        assert self._commit is not None
        commit, codebooks = self._commit, self._indexer.codebooks.current
        await self._indexer.runtime.in_thread(lambda: commit(records, codebooks))
        if self._shard is not None and self._checkpoints.is_due:
            shard = self._shard
            await self._indexer.runtime.in_thread(lambda: self._checkpoints.save(shard))

    async def between_batches(self) -> bool:
        """Give documents their ids in a new epoch; True while there is more to do."""
        codebooks = self._indexer.codebooks.current
        if not self._unfinished_epochs(codebooks):
            return False
        return bool(await self._indexer.runtime.in_thread(lambda: self._re_id(codebooks)))

    async def close(self) -> None:
        shard, self._shard = self._shard, None
        if shard is not None:
            await self._indexer.runtime.in_thread(shard.close)
        self._indexer.tools.sensor.partition_lost(self._partition)

    def next_offsets(self) -> Mapping[str, int]:
        assert self._shard is not None
        topics = (self._indexer.settings.topic(name) for name in ("documents", "moves"))
        return {topic: self._shard.applied(topic) + 1 for topic in topics}

    def _take(self) -> None:
        """Fence first, then read: nobody else can write to this partition of the log once the end is read."""
        settings = self._indexer.settings
        partition_log = PartitionLog(settings, self._partition)
        self._indexer.codebooks.catch_up()
        self._shard = shard = open_shard(
            settings.role_folder(ROLE) / "shards" / str(self._partition),
            settings=settings,
            cluster=self._indexer.cluster,
            stamp=self._indexer.tools.encoding.description.stamp,
            memory=self._indexer.memory,
            checkpoint=self._checkpoints.folder,
        )
        self._replay(shard)
        self._placement = Placement(
            shard, partition=self._partition, partitions=settings.partitions, trees=self._indexer.trees
        )
        self._commit = Commit(
            self._indexer.tools,
            partition=self._partition,
            shard=shard,
            partition_log=partition_log,
            placement=self._placement,
        )

    def _replay(self, shard: Shard) -> None:
        start = shard.position(self._partition)
        topic = self._indexer.settings.topic("assignments")
        count = 0
        for batch in read_to_end(self._indexer.settings, topic=topic, partition=self._partition, start=start):
            shard.apply([read_log_record(record) for record in batch])
            count += len(batch)
        log.info("partition taken", partition=self._partition, start=start, replayed=count)

    # -- a new epoch ------------------------------------------------------------------------------------

    def _unfinished_epochs(self, codebooks: Codebooks) -> list[int]:
        shard = self._shard
        if shard is None:
            return []
        live = [epoch for epoch in codebooks.live_epochs() if epoch in codebooks.trees]
        return [epoch for epoch in live if self._partition not in shard.completed(epoch)]

    def _re_id(self, codebooks: Codebooks) -> bool:
        """One transaction of re-ids, or the record that says that all are done."""
        assert self._shard is not None
        assert self._commit is not None
        epochs = self._unfinished_epochs(codebooks)
        entries = self._entries_without(epochs, codebooks)
        if entries:
            self._commit.publish(entries, codebooks)
            return True
        done = [self._complete(epoch) for epoch in epochs]
        self._commit.publish(done, codebooks)
        log.info("epoch complete", partition=self._partition, epochs=epochs, documents=self._shard.count())
        return False

    def _entries_without(self, epochs: Sequence[int], codebooks: Codebooks) -> list[LogEntry]:
        assert self._shard is not None
        assert self._commit is not None
        assert self._placement is not None
        self._placement.discard()
        entries: list[LogEntry] = []
        # Documents that come in meanwhile have their ids in these epochs: one pass is enough.
        after = self._scanned[1] if self._scanned[0] == epochs else ""
        for document_id, stored in self._shard.scan(after=after):
            self._scanned = (list(epochs), document_id)
            if all(epoch in stored.ids for epoch in epochs):
                continue
            fused = next(v for v in self._shard.vectors(document_id) if v.kind == "fused")
            ids = self._placement.place(fused.array.astype("float32"), codebooks, dict(stored.ids))
            entry = self._commit.renamed(
                document_id, stored, ids, event_id=self._id_of(max(epochs), document_id)
            )
            if entry is not None:
                entries.append(entry)
            if len(entries) >= RE_ID_BATCH:
                break
        return entries

    def _id_of(self, epoch: int, document_id: str) -> str:
        topic = self._indexer.settings.topic("codebooks")
        return derived_id(topic=topic, partition=0, offset=epoch, operation=f"re-id/{document_id}")

    def _complete(self, epoch: int) -> LogEntry:
        assert self._shard is not None
        control = EpochComplete(epoch=epoch, partition=self._partition, documents=self._shard.count())
        return LogEntry(control.key, self._id_of(epoch, control.key), [], control=control)


class Indexer:
    """What the partitions of one indexer process share."""

    def __init__(self, worker: Worker) -> None:
        self.settings: Settings = worker.settings
        self.memory = SharedMemory()
        self.cluster = cluster_id(self.settings)
        store = ContentStore(self.settings.content_store)
        encoding = EncodingService(worker.load_encoder(), sensor=worker.sensor)
        self.tools = Tools(
            settings=self.settings,
            encoding=encoding,
            preparer=Preparer(
                encoder=encoding.description,
                passages=encoding.passages,
                store=store,
                content=self.settings.content,
                index=self.settings.index,
            ),
            fetcher=Fetcher(self.settings.content),
            downloads=ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download"),
            sensor=worker.sensor,
        )
        warm_up()
        self.trees = Trees()
        self.codebooks = CodebookLog(
            self.settings, store, stamp=encoding.description.stamp, keeper=self.trees
        )
        self.runtime = self._runtime(worker)

    def _runtime(self, worker: Worker) -> Runtime:
        options = RuntimeOptions(
            role=ROLE,
            topics=("documents", "moves"),
            batch=self.settings.indexer.batch,
            batch_wait_s=self.settings.indexer.batch_wait_ms / 1_000,
            queue=self.settings.indexer.queue,
        )
        return Runtime(
            self.settings,
            options,
            handler=lambda partition: Partition(self, partition),
            health=worker.health,
            on_start=self._watch,
            on_opened=worker.sensor.partition_taken,
        )

    async def _watch(self) -> None:
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        """Tell how far behind the work is; end the process when new trees would not be seen any more."""
        while self.codebooks.failure is None:
            self.tools.sensor.in_flight(self.runtime.in_flight)
            self.tools.sensor.commit_age(self.runtime.commit_age_s)
            await asyncio.sleep(_REPORT_S)
        self.runtime.crash(self.codebooks.failure)


def run(settings: Settings) -> None:
    """Run an indexer until it is told to stop. Raises TrieflowError when it cannot start."""
    let_searchers_go_first()
    with Worker(settings, ROLE) as worker:
        indexer = Indexer(worker)
        indexer.codebooks.start()
        worker.health.set_ready("model", True)
        try:
            indexer.runtime.run()
        finally:
            indexer.codebooks.stop()
