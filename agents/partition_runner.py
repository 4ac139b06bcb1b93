"""One partition in the hands of a worker: batches, gaps, acks in the order of offsets.

Each partition knows the offset that it must see next. Where Faust skips records, for whatever reason, they are read
from Kafka and handled in their place, those at the end of a partition after a moment; what comes twice falls out. A
role that keeps the position in its own state therefore never depends on Faust's offsets for its correctness.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from agents.pacing import Pacing
from streams.errors import BrokerError
from streams.records import Record, committed_offset, end_offset, read_batches, read_range
from streams.settings import Settings

log = structlog.get_logger()

T = TypeVar("T")

_IDLE_INTERVAL_S = 0.05
_BREATH_S = 0.005
"""So long, in place of that, nothing has to wait while there is more to do between batches."""
BUSY_BATCHES = 4
"""Under a load that never pauses, so many batches have to be done before what stands between them has a turn."""
LOOK_INTERVAL_S = 2.0
"""Between two looks for records at the end of a partition that nobody delivers."""


class PartitionHandler(Protocol):
    """What a role does with one partition. All methods run on the event loop and may use executors.

    `open` is called before any record, `close` when the partition is given away, opened or not. `handle`
    returns when every output of the records is confirmed and state is written; the runtime acks then. A
    DataError never leaves it; whatever does leave it ends the process. `between_batches` is called when nothing
    waits or `BUSY_BATCHES` were handled, and soon again when it returned True: it gets on under any load.
    `next_offsets` names, by topic, the next offset that state wants to see; topics that are absent start where
    the group stands.
    """

    async def open(self) -> None: ...
    async def handle(self, records: Sequence[Record]) -> None: ...
    async def between_batches(self) -> bool: ...
    async def close(self) -> None: ...
    def next_offsets(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class RuntimeOptions:
    """How one role consumes. `concurrent_batches` above 1 lets answers overtake each other; acks never do.

    `batch_wait_s`: a batch that is not full waits so long for more records, and longer where records come fast
    (`agents/pacing.py`). 0: never. `single`: one worker takes all partitions, the others of the role stand by.
    `threads`: for blocking work, 0: one for each partition, at least eight.
    """

    role: str
    topics: tuple[str, ...]
    batch: int
    batch_wait_s: float = 0.0
    queue: int = 256
    concurrent_batches: int = 1
    single: bool = False
    threads: int = 0


class Surroundings(Protocol):
    """What a runner needs of the runtime around it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def options(self) -> RuntimeOptions: ...
    @property
    def group(self) -> str: ...

    async def in_thread(self, work: Callable[[], T]) -> T: ...
    def freed(self) -> None: ...
    def opened(self, partition: int, *, seconds: float) -> None: ...
    def stable_end(self, topic: str, partition: int) -> int | None: ...
    def handled_to(self, topic: str, partition: int, end: int) -> None: ...
    def crash(self, error: BaseException | None) -> None: ...


class Waiting(NamedTuple):
    """A record that is here since a time, in seconds of the monotonic clock."""

    record: Record
    since: float


class PartitionRunner:
    """One task for one partition number: gathers batches, handles them, acks in order."""

    def __init__(self, around: Surroundings, partition: int, handler: PartitionHandler) -> None:
        self._around = around
        self._partition = partition
        self._handler = handler
        self._waiting: deque[Waiting] = deque()
        self._running: deque[tuple[asyncio.Task[Any], list[Waiting]]] = deque()
        self._next: dict[str, int] = {}
        self._overdue: dict[str, int] = {}
        self._looked_at = 0.0
        self._pacing = Pacing()
        self._changed = asyncio.Event()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ends = False
        self._abandoned = False
        self.paused = False

    def start(self, *, after: asyncio.Task[None] | None = None) -> None:
        """Open and run; first wait until an earlier runner of this partition has given it away."""
        self._task = asyncio.create_task(self._run(after), name=f"partition-{self._partition}")
        self._task.add_done_callback(self._crash_on_failure)

    def has_room(self) -> bool:
        return len(self._waiting) < self._around.options.queue

    def put(self, record: Record) -> None:
        """Take a record; a partition that is paused drops it, Kafka delivers it again."""
        if self.paused:
            return
        self._waiting.append(Waiting(record, time.monotonic()))
        self._changed.set()
        if len(self._waiting) >= self._around.options.batch:
            self._full.set()

    @property
    def in_flight(self) -> int:
        return len(self._waiting) + sum(len(batch) for _, batch in self._running)

    @property
    def oldest_s(self) -> float:
        """For how long the oldest event that is not acked has been here, 0 without one."""
        oldest = [batch[0] for _, batch in self._running if batch] or list(self._waiting)
        return time.monotonic() - oldest[0].since if oldest else 0.0

    @property
    def is_busy(self) -> bool:
        """Whether batches rest, so that more records come."""
        return self._around.options.batch_wait_s > 0 and self._pacing.is_fast(time.monotonic())

    def pause(self) -> None:
        """Take nothing new and drop what waits: Kafka delivers it again."""
        self.paused = True
        self._waiting.clear()
        self._around.freed()

    def resume(self) -> None:
        self.paused = False
        self._changed.set()

    async def drain(self) -> None:
        """Wait until all work that runs has ended: batches are handled and acked, or failed."""
        while unfinished := [task for task, _ in self._running if not task.done()]:
            await asyncio.wait(unfinished)

    async def stop(self) -> None:
        """Finish what runs, drop what waits, give the partition away."""
        self.pause()
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

    def _crash_on_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._around.crash(task.exception())

    async def _run(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await after
        started = time.monotonic()
        if not self._ends:
            await self._handler.open()
            await self._catch_up()
        if not self._ends:
            self._around.opened(self._partition, seconds=time.monotonic() - started)
        more, handled = False, 0
        while not self._ends:
            batch = await self._gather(_BREATH_S if more else _IDLE_INTERVAL_S)
            if batch:
                await self._begin(batch)
                handled += 1
            elif self._is_free:
                await self._look_behind()
            await self._room_for_another()
            if (not batch or handled >= BUSY_BATCHES) and self._is_free:
                more, handled = await self._between_batches(), 0

    @property
    def _is_free(self) -> bool:
        return not self.paused and not self._running and not self._ends

    # -- work: all of it stands in `_running`, so that a rebalance waits for it ---------------------------

    def _track(self, work: Coroutine[Any, Any, T], batch: list[Waiting]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.append((task, batch))
        task.add_done_callback(lambda _: self._ack_finished())
        return task

    def _ack_finished(self) -> None:
        """Ack finished batches from the oldest on; a failed one ends the process and acks nothing."""
        while self._running and self._running[0][0].done():
            task, batch = self._running[0]
            if task.cancelled() or task.exception() is not None:
                self._ends = True
                if not self._abandoned:
                    self._around.crash(_failure(task))
                return
            self._running.popleft()
            for topic, end in {each.record.topic: each.record.offset + 1 for each in batch}.items():
                self._around.handled_to(topic, self._partition, end)

    async def _room_for_another(self) -> None:
        while len(self._running) >= self._around.options.concurrent_batches and not self._ends:
            await asyncio.wait([self._running[0][0]])
            await asyncio.sleep(0)

    async def _between_batches(self) -> bool:
        task = self._track(self._handler.between_batches(), [])
        await asyncio.wait([task])
        return not self._ends and task.result()

    # -- batches -----------------------------------------------------------------------------------------

    async def _gather(self, patience_s: float) -> list[Waiting]:
        """What waits, or comes within `patience_s`, up to the batch size; a short wait lets a batch fill."""
        options = self._around.options
        if not self._waiting or self.paused:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), patience_s)
            except TimeoutError:
                return []
        if options.batch_wait_s and len(self._waiting) < options.batch:
            await self._rest(options.batch_wait_s)
        if self.paused:
            return []
        count = min(options.batch, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        self._around.freed()
        return batch

    async def _rest(self, shortest_s: float) -> None:
        """Let a batch fill; over as soon as it is full."""
        self._full.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._full.wait(), max(shortest_s, self._pacing.rest(time.monotonic())))

    async def _begin(self, batch: list[Waiting]) -> None:
        records = await self._without_gaps([waiting.record for waiting in batch])
        if self.paused:  # while the missing were read: no longer waiting, not running yet
            return
        for record in records:
            self._next[record.topic] = record.offset + 1
        self._track(self._handle(records), batch)

    async def _handle(self, records: list[Record]) -> None:
        if records:
            self._pacing.began(time.monotonic(), len(records))
            await self._handler.handle(records)

    async def _without_gaps(self, records: list[Record]) -> list[Record]:
        """With the records that Faust skipped, without those that were handled before; topic by topic."""
        complete: list[Record] = []
        for topic in dict.fromkeys(record.topic for record in records):
            expected = self._next[topic]
            fresh = {r.offset: r for r in records if r.topic == topic and r.offset >= expected}
            if fresh and max(fresh) + 1 - expected > len(fresh):
                # One read, however many gaps: those of compaction and of transaction markers are legitimate.
                await self._fill(fresh, topic=topic, start=expected, end=max(fresh))
            complete += [fresh[offset] for offset in sorted(fresh)]
        return complete

    async def _fill(self, records: dict[int, Record], *, topic: str, start: int, end: int) -> None:
        read = partial(read_range, topic=topic, partition=self._partition, start=start, end=end)
        there = await self._around.in_thread(lambda: read(self._around.settings))
        missing = {record.offset: record for record in there if record.offset not in records}
        records.update(missing)
        if missing:
            log.warning(
                "gap filled", topic=topic, partition=self._partition, start=start, records=len(missing)
            )

    async def _look_behind(self) -> None:
        """Handle what Faust dropped at the end of a partition, where no later record shows the gap."""
        if time.monotonic() - self._looked_at < LOOK_INTERVAL_S:
            return
        self._looked_at = time.monotonic()
        for topic in map(self._around.settings.topic, self._around.options.topics):
            end, expected = self._around.stable_end(topic, self._partition), self._next[topic]
            if end is None or end <= expected:
                continue
            if self._overdue.get(topic) == expected:  # nothing came since the last look
                await self._handle_range(topic, expected, end)
                if self._ends:
                    return
                self._next[topic] = end
                self._around.handled_to(topic, self._partition, end)
            self._overdue[topic] = expected

    # -- opening -----------------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Handle what the group calls done and state does not know: an ack can be lost, never the event."""
        wanted = self._handler.next_offsets()
        for topic in map(self._around.settings.topic, self._around.options.topics):
            committed, end = await self._around.in_thread(partial(self._committed_and_end, topic))
            position = wanted.get(topic, committed)
            if max(position, committed) > end:
                raise BrokerError(
                    _made_anew(topic, self._partition, end=end, state=position, group=committed)
                )
            await self._handle_range(topic, position, committed)
            if self._ends:
                return
            self._next[topic] = max(position, committed)

    def _committed_and_end(self, topic: str) -> tuple[int, int]:
        settings, partition = self._around.settings, self._partition
        committed = committed_offset(settings, group=self._around.group, topic=topic, partition=partition)
        return committed, end_offset(settings, topic=topic, partition=partition)

    async def _handle_range(self, topic: str, start: int, end: int) -> None:
        """Read and handle [start, end); none of it is acked."""
        batches = read_batches(
            self._around.settings,
            topic=topic,
            partition=self._partition,
            start=start,
            end=end,
            size=self._around.options.batch,
        )
        count = 0
        while records := await self._around.in_thread(partial(next, batches, None)):
            while self.paused and not self._ends:
                self._changed.clear()
                await self._changed.wait()
            if self._ends:
                break
            await asyncio.wait([self._track(self._handler.handle(records), [])])
            count += len(records)
        await self._around.in_thread(batches.close)
        if count:
            log.warning("caught up", topic=topic, partition=self._partition, start=start, records=count)


def _made_anew(topic: str, partition: int, *, end: int, state: int, group: int) -> str:
    # Faust and state would take all records up to there for handled before.
    return (
        f"partition {partition} of {topic} ends at {end}, but state goes on at {state} and the group at {group}: "
        "the topic was made anew, or lost records. Start over under another TRIEFLOW_PREFIX"
    )


def _failure(task: asyncio.Task[Any]) -> BaseException:
    error = None if task.cancelled() else task.exception()
    return error or RuntimeError("a batch was cancelled")
