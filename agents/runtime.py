"""The one safe Faust runtime. Every worker that consumes a topic in a group runs on it.

Faust 0.15 loses messages in its default form (`docs/adr/0002-safe-faust-subset.md`). What we do about it:

- raw bytes in; acks only by us, in the order of offsets, when all outputs are confirmed (B1, B2, B3);
- no Faust tables, no Faust producer: what is written goes through librdkafka and is awaited (B5, B6);
- a stop or a rebalance drops what waits and finishes what runs; what was dropped is read again (B4);
- a failure of infrastructure ends the process, a supervisor starts it again; one of data never gets here;
- a watchdog ends a process whose group coordinator died in silence (B7);
- **gaps are filled**: each partition knows the offset it must see next. Where Faust skips one, for whatever
  reason, the missing records are read from Kafka and handled in their place. A role that keeps the position
  in its own state therefore never depends on Faust's offsets for its correctness.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import aiokafka
import faust
import mode
import structlog
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from agents.assignor import complete_assignor
from agents.health import Health
from streams.clients import ssl_context
from streams.errors import BrokerError
from streams.records import Record, committed_offset, read_range
from streams.settings import Settings

log = structlog.get_logger()

T = TypeVar("T")

FETCH_WAIT_MS = 25
"""Faust asks brokers to hold a fetch for 1,500 ms, and its connection waits as long for anything else."""

_WATCH_INTERVAL_S = 1.0
_IDLE_INTERVAL_S = 0.05
_EXIT_MARGIN_S = 10.0
"""Beyond the grace, for Faust and its consumer to leave the group."""


class PartitionHandler(Protocol):
    """What a role does with one partition. All methods run on the event loop and may use executors.

    `open` is called before any record, `close` when the partition is given away. `handle` returns when every
    output of the records is confirmed and state is written; the runtime acks then. A DataError never leaves
    it; whatever does leave it ends the process. `next_offsets` names, by topic, the next offset that state
    wants to see; topics that are absent start where the group stands.
    """

    async def open(self) -> None: ...
    async def handle(self, records: Sequence[Record]) -> None: ...
    async def between_batches(self) -> bool: ...
    async def close(self) -> None: ...
    def next_offsets(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class RuntimeOptions:
    """How one role consumes. `concurrent_batches` above 1 lets answers overtake each other; acks never do."""

    role: str
    topics: tuple[str, ...]
    batch: int
    batch_wait_s: float = 0.0
    queue: int = 256
    concurrent_batches: int = 1


@dataclass(frozen=True)
class _Waiting:
    record: Record
    event: Any


class PartitionRunner:
    """One task for one partition number: gathers batches, handles them, acks in order."""

    def __init__(self, runtime: Runtime, partition: int, handler: PartitionHandler) -> None:
        self._runtime = runtime
        self._partition = partition
        self._handler = handler
        self._waiting: deque[_Waiting] = deque()
        self._running: deque[tuple[asyncio.Task[None], list[_Waiting]]] = deque()
        self._next: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ends = False
        self._abandoned = False
        self.paused = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"partition-{self._partition}")
        self._task.add_done_callback(self._runtime.crash_on_failure)

    def has_room(self) -> bool:
        return len(self._waiting) < self._runtime.options.queue

    def put(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._changed.set()

    @property
    def in_flight(self) -> int:
        return len(self._waiting) + sum(len(batch) for _, batch in self._running)

    def pause(self) -> list[_Waiting]:
        """Take nothing new; returns what waited and is dropped (Kafka delivers it again)."""
        self.paused = True
        dropped = list(self._waiting)
        self._waiting.clear()
        return dropped

    def resume(self) -> None:
        self.paused = False
        self._changed.set()

    async def drain(self) -> None:
        """Wait until every batch that runs has ended: handled and acked, or failed."""
        while unfinished := [task for task, _ in self._running if not task.done()]:
            await asyncio.wait(unfinished)

    async def stop(self) -> None:
        """Finish what runs, drop what waits, give the partition away."""
        for waiting in self.pause():
            self._runtime.forget(waiting.event)
        self._ends = True
        self._changed.set()
        if self._task is not None:  # not cancelled: a thread that opens would go on after `close`
            await asyncio.gather(self._task, return_exceptions=True)
        await self.drain()
        await self._handler.close()

    def abandon(self) -> None:
        """Let go of what runs, as a kill would: there is no more time."""
        self._abandoned = True
        for task in (self._task, *(task for task, _ in self._running)):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        started = time.monotonic()
        await self._handler.open()
        await self._catch_up()
        self._runtime.opened(self._partition, seconds=time.monotonic() - started)
        while not self._ends:
            batch = await self._gather()
            if batch:
                await self._begin(batch)
            elif not self.paused and not self._running and await self._handler.between_batches():
                continue
            await self._room_for_another()

    async def _catch_up(self) -> None:
        """Handle what the group calls done and state does not know: an ack can be lost, never the event."""
        wanted = self._handler.next_offsets()
        for topic in map(self._runtime.settings.topic, self._runtime.options.topics):
            committed, records = await self._runtime.in_thread(
                partial(self._runtime.committed_since, topic, self._partition, wanted.get(topic))
            )
            if records:
                log.warning("catching up", topic=topic, partition=self._partition, records=len(records))
            for start in range(0, len(records), self._runtime.options.batch):
                if self._ends:
                    return
                await self._handler.handle(records[start : start + self._runtime.options.batch])
            self._next[topic] = max(committed, wanted.get(topic, committed))

    async def _gather(self) -> list[_Waiting]:
        """What waits, up to the batch size; a short wait lets a batch fill when little waits."""
        options = self._runtime.options
        if not self._waiting or self.paused:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _IDLE_INTERVAL_S)
            except TimeoutError:
                return []
        if options.batch_wait_s and len(self._waiting) < options.batch:
            await asyncio.sleep(options.batch_wait_s)
        if self.paused:
            return []
        count = min(options.batch, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]

    async def _begin(self, batch: list[_Waiting]) -> None:
        records, following = await self._without_gaps([waiting.record for waiting in batch])
        if self.paused:  # while the missing were read: no longer waiting, not running yet
            for waiting in batch:
                self._runtime.forget(waiting.event)
            return
        self._next.update(following)
        task = asyncio.create_task(self._handle(records))
        self._running.append((task, batch))
        task.add_done_callback(lambda _: self._ack_finished())

    async def _handle(self, records: list[Record]) -> None:
        if records:
            await self._handler.handle(records)

    async def _room_for_another(self) -> None:
        while len(self._running) >= self._runtime.options.concurrent_batches and not self._ends:
            await asyncio.wait([self._running[0][0]])
            await asyncio.sleep(0)

    def _ack_finished(self) -> None:
        """Ack finished batches from the oldest on; a failed one ends the process and acks nothing."""
        while self._running and self._running[0][0].done():
            task, batch = self._running[0]
            if task.cancelled() or task.exception() is not None:
                self._ends = True
                if not self._abandoned:
                    self._runtime.crash(_failure(task))
                return
            self._running.popleft()
            for waiting in batch:
                self._runtime.ack(waiting.event)

    async def _without_gaps(self, records: list[Record]) -> tuple[list[Record], dict[str, int]]:
        """Insert records that Faust skipped, drop those that were handled before; with the offsets to follow."""
        complete: list[Record] = []
        following = dict(self._next)
        for record in records:
            expected = following[record.topic]
            if record.offset > expected:
                complete += await self._missing(record, expected)
            if record.offset >= expected:
                complete.append(record)
                following[record.topic] = record.offset + 1
        return complete, following

    async def _missing(self, record: Record, expected: int) -> list[Record]:
        # Legitimate gaps (compaction, transaction markers) give an empty list.
        missing = await self._runtime.in_thread(
            partial(
                read_range,
                self._runtime.settings,
                topic=record.topic,
                partition=record.partition,
                start=expected,
                end=record.offset,
            )
        )
        if missing:
            log.warning(
                "gap filled",
                topic=record.topic,
                partition=record.partition,
                start=expected,
                records=len(missing),
            )
        return missing


def _failure(task: asyncio.Task[None]) -> BaseException:
    error = None if task.cancelled() else task.exception()
    return error or RuntimeError("a batch was cancelled")


class Runtime:
    """Runs one role: a Faust app whose agents only route, and a `PartitionRunner` for each partition."""

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
            max_workers=max(8, settings.partitions), thread_name_prefix=options.role
        )
        self._opening: set[int] = set()
        self._room = asyncio.Event()
        self._reassigning = asyncio.Lock()
        self._exit: threading.Timer | None = None
        self.app = _build_app(self)

    def run(self) -> None:
        """Run until a signal stops it. Exits 0 after a clean stop, 1 after a failure of infrastructure."""
        worker = self.app.Worker(
            override_logging=False, redirect_stdouts=False, quiet=True, blocking_timeout=60.0
        )
        worker.execute_from_commandline()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def committed_since(self, topic: str, partition: int, start: int | None) -> tuple[int, list[Record]]:
        """What the group has committed, and the records from `start`, if there is one, up to it."""
        end = committed_offset(self.settings, group=self.app.conf.id, topic=topic, partition=partition)
        if start is None:
            return end, []
        return end, read_range(self.settings, topic=topic, partition=partition, start=start, end=end)

    def crash_on_failure(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        self.crash(task.exception())

    def crash(self, error: BaseException | None) -> None:
        """End the process: infrastructure failed, a supervisor starts it again."""
        reason = repr(error)
        log.error("worker ends", role=self.options.role, reason=reason, exc_info=error)
        self.health.fail(reason)
        self.leave_in_time()
        self.app.end(error or RuntimeError("unknown failure"))

    def leave_in_time(self) -> None:
        """End the process when the stop that begins now hangs. All that is written survives a kill."""
        if self._exit is None:
            self._exit = threading.Timer(self.settings.grace_s + _EXIT_MARGIN_S, _exit_at_once)
            self._exit.daemon = True
            self._exit.start()

    def opened(self, partition: int, *, seconds: float) -> None:
        self._opening.discard(partition)
        self._on_opened(partition, seconds)
        self._report_ready()

    def ack(self, event: Any) -> None:
        event.ack()
        self._room.set()

    def forget(self, event: Any) -> None:
        """Drop an event unacked; Faust would wait for it for ever when a partition is given away."""
        self.app.consumer._unacked_messages.discard(event.message)

    @property
    def in_flight(self) -> int:
        return sum(runner.in_flight for runner in self.runners.values())

    # -- called by the Faust app ------------------------------------------------------------------------

    async def started(self) -> None:
        if self._on_start is not None:
            await self._on_start()

    async def route(self, event: Any) -> None:
        """Hand one event to the runner of its partition; waits while that one is full."""
        message = event.message
        while True:
            runner = self.runners.get(message.partition)
            if runner is None or runner.paused:
                self.forget(event)
                return
            if runner.has_room():
                break
            self._room.clear()
            await self._room.wait()
        record = Record(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=message.key,
            value=message.value,
            headers=_header_list(message.headers),
            timestamp_ms=round((message.timestamp or 0) * 1_000),
        )
        runner.put(_Waiting(record, event))

    async def pause(self) -> None:
        """Before a rebalance or a stop: drop what waits, finish what runs."""
        for runner in self.runners.values():
            for waiting in runner.pause():
                self.forget(waiting.event)
        self._room.set()
        await asyncio.gather(*(runner.drain() for runner in self.runners.values()))

    async def assigned(self, partitions: set[int]) -> None:
        """Open what is new, close what is lost, keep the rest open."""
        async with self._reassigning:
            lost = [self.runners.pop(p) for p in sorted(set(self.runners) - partitions)]
            new = sorted(partitions - set(self.runners))
            self._opening = (self._opening & partitions) | set(new)
            self._report_ready()
            await asyncio.gather(*(runner.stop() for runner in lost))
            for partition in new:
                self.runners[partition] = PartitionRunner(self, partition, self._handler(partition))
                self.runners[partition].start()
            for runner in self.runners.values():
                runner.resume()
            self._report_ready()
        log.info("partitions", role=self.options.role, held=sorted(self.runners), lost=len(lost), new=new)

    async def close(self) -> None:
        await asyncio.gather(*(runner.stop() for runner in self.runners.values()))
        self.runners.clear()

    def abandon(self) -> None:
        """A stop has used up its time: what runs is left as a kill would leave it, and handled again."""
        log.warning("stopped in the middle of a batch: it will be handled again", role=self.options.role)
        for runner in self.runners.values():
            runner.abandon()
        self.app.consumer._unacked_messages.clear()

    def _report_ready(self) -> None:
        waiting = sorted(self._opening)
        self.health.set_ready("partitions", not waiting, f"opening {waiting}" if waiting else "")


def _exit_at_once() -> None:
    log.error("the stop hangs: the process is ended")
    os._exit(1)


def _header_list(headers: Any) -> list[tuple[str, bytes]]:
    items = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, value or b"") for name, value in items]


class _App(faust.App):  # type: ignore[misc]
    """Faust with our callbacks in the places where it would drop, or wait for, our events."""

    runtime: Runtime

    async def on_start(self) -> None:
        await super().on_start()
        await self.runtime.started()
        self.add_future(self._watch())

    async def on_stop(self) -> None:
        self.runtime.leave_in_time()
        stop_by = time.monotonic() + self.runtime.settings.grace_s
        await self._or_abandon(self.runtime.pause(), stop_by)
        await super().on_stop()
        await self._or_abandon(self.runtime.close(), stop_by)

    async def _or_abandon(self, ending: Awaitable[None], stop_by: float) -> None:
        try:
            await asyncio.wait_for(ending, max(0.0, stop_by - time.monotonic()))
        except TimeoutError:
            self.runtime.abandon()

    def end(self, error: BaseException) -> None:
        """Crash from anywhere on the loop; that of Faust itself reaches the worker above the app."""
        self.add_future(self.crash(error))

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.runtime.pause()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # First: events that come before there is somebody to take them would be dropped.
        if not self.should_stop:
            await self._or_crash(self.runtime.assigned({tp.partition for tp in assigned}))
        await super()._on_partitions_assigned(assigned, generation_id)

    async def _or_crash(self, reassigning: Awaitable[None]) -> None:
        """Faust swallows what its callbacks raise."""
        try:
            await reassigning
        except Exception as error:
            self.runtime.crash(error)

    async def _watch(self) -> None:
        """Beat for liveness; end the process when aiokafka's coordinator stopped in silence (B7)."""
        while not self.should_stop:
            await self.sleep(_WATCH_INTERVAL_S)
            if self.should_stop:
                return
            self.runtime.health.beat()
            coordinator = _coordinator(self)
            if coordinator is None:
                continue
            pending = coordinator._pending_exception
            if pending or coordinator._coordination_task.done():
                self.runtime.crash(pending or BrokerError("the group coordinator stopped"))
                return


def _coordinator(app: _App) -> Any:
    thread = getattr(app.consumer, "_thread", None)
    return getattr(getattr(thread, "_consumer", None), "_coordinator", None)


class _QuickConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    def __init__(self, *topics: str, **options: Any) -> None:
        ours = {"fetch_max_wait_ms": FETCH_WAIT_MS, "isolation_level": "read_committed"}
        super().__init__(*topics, **options | ours)


class _InOrderConsumer(Consumer):  # type: ignore[misc]
    """Commits up to the last ack: ours come in order, and nothing below one is unhandled.

    Faust looks for gaps among the acks. It misses one that is a single record wide (B3), and at one that we
    filled it stops to commit for ever.
    """

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        newest = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return int(newest) + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing to remember."""


def _build_app(runtime: Runtime) -> _App:
    settings, options = runtime.settings, runtime.options
    aiokafka.AIOKafkaConsumer = _QuickConsumer
    if not settings.brokers:
        raise BrokerError("no broker: run `trieflow up`, or set TRIEFLOW_BROKERS to host:port")
    session = settings.kafka.session_timeout_s
    folder = settings.role_folder(options.role) / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    app = _App(
        f"{settings.prefix}{options.role}",
        broker=["kafka://" + address for address in settings.brokers.split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        PartitionAssignor=complete_assignor(settings.partitions),
        datadir=str(folder),
        processing_guarantee="at_least_once",
        stream_wait_empty=True,
        stream_buffer_maxsize=64,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=1,
        web_enabled=False,
        worker_redirect_stdouts=False,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{options.role}-{settings.worker}",
        consumer_max_fetch_size=6 * 1024 * 1024,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 5,
        broker_request_timeout=max(40.0, session),
        broker_rebalance_timeout=60.0,
        broker_commit_interval=1.0,
        broker_max_poll_interval=600.0,
    )
    app.runtime = runtime
    app.transport.Consumer = _InOrderConsumer
    for name in options.topics:
        _add_agent(app, settings.topic(name))
    return app


def _add_agent(app: _App, topic_name: str) -> None:
    topic = app.topic(
        topic_name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    async def route(stream: Any) -> None:
        raw = stream.noack()
        async for event in raw.events():
            await app.runtime.route(event)

    app.agent(topic, name=f"route-{topic_name}", concurrency=1, supervisor_strategy=mode.CrashingSupervisor)(
        route
    )


def _credentials(settings: Settings) -> Any:
    kafka = settings.kafka
    context = ssl_context(settings)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username or "",
            password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else "",
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
