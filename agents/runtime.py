"""The one safe Faust runtime. Every worker that consumes a topic in a group runs on it.

Faust 0.15 loses messages in its default form (`docs/adr/0002-safe-faust-subset.md`). What we do about it:

- what is fetched comes to us, past Faust's streams; commits only by us, in the order of offsets, when all outputs
  are confirmed (B1, B2, B3);
- no Faust tables, no Faust producer: what is written goes through librdkafka and is awaited (B5, B6);
- a stop or a rebalance drops what waits and finishes what runs; what was dropped is read again (B4);
- a failure of infrastructure ends the process, a supervisor starts it again; one of data never gets here;
- a watchdog ends a process that lives and consumes nothing any more (B7);
- gaps are filled (`agents/partition_runner.py`).

`agents/faust_app.py` holds what touches Faust.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord

from agents.faust_app import build_app
from agents.health import Health
from agents.partition_runner import PartitionHandler, PartitionRunner, RuntimeOptions
from streams.records import Record
from streams.settings import Settings

__all__ = ["PartitionHandler", "Runtime", "RuntimeOptions"]

log = structlog.get_logger()

T = TypeVar("T")

_EXIT_MARGIN_S = 4.0
"""Beyond the grace, for Faust and its consumer to leave the group; then whoever started us would kill us."""


class Runtime:
    """Runs one role: a Faust app that only fetches and commits, and a `PartitionRunner` for each partition."""

    def __init__(
        self,
        settings: Settings,
        options: RuntimeOptions,
        *,
        handler: Callable[[int], PartitionHandler],
        health: Health,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_opened: Callable[[int, float], None] = lambda partition, seconds: None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.health = health
        self.runners: dict[int, PartitionRunner] = {}
        self._handler = handler
        self._on_start = on_start
        self._on_opened = on_opened
        self._executor = ThreadPoolExecutor(
            max_workers=options.threads or max(8, settings.partitions), thread_name_prefix=options.role
        )
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._opening: set[int] = set()
        self._freed = asyncio.Event()
        self._exit: threading.Timer | None = None
        self._failed = False
        self._abandoned = False
        self.health.set_ready("partitions", False, "joining the group")
        self.app = build_app(settings, self, role=options.role, topics=options.topics, single=options.single)

    def run(self) -> None:
        """Run until a signal stops it. Exits 0 after a clean stop, 1 after a failure of infrastructure."""
        worker = self.app.Worker(
            override_logging=False, redirect_stdouts=False, quiet=True, blocking_timeout=60.0
        )
        try:
            worker.execute_from_commandline()
        finally:
            if self._abandoned:  # Python would wait for the threads of what was abandoned
                os._exit(1 if self._failed else 0)

    @property
    def group(self) -> str:
        """The consumer group of this role."""
        return str(self.app.conf.id)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def crash(self, error: BaseException | None) -> None:
        """End the process: infrastructure failed, a supervisor starts it again."""
        reason = repr(error)
        log.error("worker ends", role=self.options.role, reason=reason, exc_info=error)
        self._failed = True
        self.health.fail(reason)
        self.stopping()
        self.app.end(error or RuntimeError("unknown failure"))

    @property
    def in_flight(self) -> int:
        """Records that wait or are being handled."""
        return sum(runner.in_flight for runner in self.runners.values())

    @property
    def commit_age_s(self) -> float:
        """For how long the oldest event that is not acked has been here, over all partitions."""
        return max((runner.oldest_s for runner in self.runners.values()), default=0.0)

    # -- called by the runners --------------------------------------------------------------------------

    def opened(self, partition: int, *, seconds: float) -> None:
        self._opening.discard(partition)
        self._on_opened(partition, seconds)
        self._report_ready()

    def stable_end(self, topic: str, partition: int) -> int | None:
        """The end of what is committed, as the last fetch told it; None before the first."""
        return self.app.stable_end(topic, partition)

    def handled_to(self, topic: str, partition: int, end: int) -> None:
        self.app.handled_to(topic, partition, end)

    def freed(self) -> None:
        """A partition has room again."""
        self._freed.set()

    # -- called by the Faust app ------------------------------------------------------------------------

    async def started(self) -> None:
        if self._on_start is not None:
            await self._on_start()

    def beat(self) -> None:
        self.health.beat()

    def is_busy(self) -> bool:
        """Whether records come so fast to some partition that its batches wait for more of them."""
        return any(runner.is_busy for runner in self.runners.values())

    def has_room(self, partition: int) -> bool:
        """Whether a record of this partition can be delivered. Nobody waits for one that is not held."""
        runner = self.runners.get(partition)
        return runner is None or runner.has_room()

    async def room(self) -> None:
        """Wait while all partitions that are held are full."""
        while self.runners and not any(runner.has_room() for runner in self.runners.values()):
            self._freed.clear()
            await self._freed.wait()

    def deliver(self, fetched: ConsumerRecord) -> None:
        """Hand a record to the runner of its partition; without one it is dropped, and comes to whoever has it."""
        runner = self.runners.get(fetched.partition)
        if runner is not None:
            runner.put(_record(fetched))

    async def pause(self) -> None:
        """Before a rebalance or a stop: drop what waits, finish what runs."""
        for runner in self.runners.values():
            runner.pause()
        await asyncio.gather(*(runner.drain() for runner in self.runners.values()))

    def assigned(self, partitions: set[int], *, kept: bool) -> None:
        """Open what is new, close what is lost; `kept` says whether the rest may stay open. Waits for nothing.

        aiokafka sends no heartbeat before this returns: a slow close would cost the membership.
        """
        lost = sorted(set(self.runners) - (partitions if kept else set()))
        for partition in lost:
            self._leave(partition)
        new = sorted(partitions - set(self.runners))
        self._opening = (self._opening & partitions) | set(new)
        for partition in new:
            self.runners[partition] = PartitionRunner(self, partition, self._handler(partition))
            self.runners[partition].start(after=self._leaving.get(partition))
        for runner in self.runners.values():
            runner.resume()
        self._report_ready()
        log.info("partitions", role=self.options.role, held=sorted(self.runners), lost=lost, new=new)

    def _leave(self, partition: int) -> None:
        """Give a partition away in the background; whoever takes it again waits for that."""
        leaving = asyncio.create_task(self.runners.pop(partition).stop(), name=f"leaving-{partition}")
        self._leaving[partition] = leaving
        leaving.add_done_callback(lambda task: self._left(partition, task))

    def _left(self, partition: int, task: asyncio.Task[None]) -> None:
        if self._leaving.get(partition) is task:
            del self._leaving[partition]
        if not task.cancelled() and task.exception() is not None:
            self.crash(task.exception())

    async def close(self) -> None:
        """Give all partitions away."""
        stopping = [runner.stop() for runner in self.runners.values()]
        await asyncio.gather(*stopping, *self._leaving.values())
        self.runners.clear()

    def stopping(self) -> None:
        """End the process when the stop that begins now hangs. All that is written survives a kill."""
        if self._exit is None:
            self._exit = threading.Timer(self.settings.grace_s + _EXIT_MARGIN_S, _exit_at_once)
            self._exit.daemon = True
            self._exit.start()

    def abandon(self) -> None:
        """A stop has used up its time: what runs is left as a kill would leave it, and handled again."""
        log.warning("stopped in the middle of a batch: it will be handled again", role=self.options.role)
        self._abandoned = True
        for runner in self.runners.values():
            runner.abandon()

    def _report_ready(self) -> None:
        waiting = sorted(self._opening)
        self.health.set_ready("partitions", not waiting, f"opening {waiting}" if waiting else "")


def _exit_at_once() -> None:
    log.error("the stop hangs: the process is ended")
    os._exit(1)


def _record(fetched: ConsumerRecord) -> Record:
    return Record(
        topic=fetched.topic,
        partition=fetched.partition,
        offset=fetched.offset,
        key=fetched.key,
        value=fetched.value,
        headers=[(name, value or b"") for name, value in fetched.headers],
        timestamp_ms=fetched.timestamp,
    )
