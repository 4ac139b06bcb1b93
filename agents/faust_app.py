"""Faust, in the subset that loses nothing (`docs/adr/0002-safe-faust-subset.md`).

Only this module knows its inside. What it relies on there is pinned by `tests/unit/test_runtime_pins.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import aiokafka
import faust
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from agents.assignor import complete_assignor
from streams.clients import ssl_context
from streams.errors import BrokerError
from streams.settings import Settings

log = structlog.get_logger()

FETCH_WAIT_MS = 25
"""Faust asks brokers to hold a fetch for 1,500 ms, and its connection waits as long for anything else."""
LUMP_WAIT_MS, LUMP_BYTES = 50, 1024 * 1024
"""The same where events come fast: fetched few at a time they cost twice as much, here and in the broker."""
REBALANCE_TIMEOUT_S = 60.0
"""So long a group waits for a member that finishes what runs; then it goes on without it."""
MAX_POLL_INTERVAL_S = 86_400.0
"""aiokafka leaves the group of a consumer that did not poll for so long, and then waits for it for ever."""

_WATCH_INTERVAL_S = 1.0
_LOOK_AGAIN_S = 0.025
"""So long records of others are waited for while some partition is full, which may have room by then."""
_NOTHING: tuple[ConsumerRecord, ...] = ()


class Callbacks(Protocol):
    """What the app asks of the runtime."""

    async def started(self) -> None: ...
    def has_room(self, partition: int) -> bool: ...
    async def room(self) -> None: ...
    def deliver(self, fetched: ConsumerRecord) -> None: ...
    async def pause(self) -> None: ...
    async def close(self) -> None: ...
    def assigned(self, partitions: set[int], *, kept: bool) -> None: ...
    def abandon(self) -> None: ...
    def stopping(self) -> None: ...
    def beat(self) -> None: ...
    def is_busy(self) -> bool: ...
    def crash(self, error: BaseException | None) -> None: ...


class App(faust.App):  # type: ignore[misc]
    """Faust with our callbacks in the places where it would drop, or wait for, our events."""

    callbacks: Callbacks
    grace_s: float
    _member: str = ""
    _generation: int = 0
    _settled_at: float = 0.0

    async def on_start(self) -> None:
        await super().on_start()
        await self.callbacks.started()
        self.add_future(self._watch())

    async def on_stop(self) -> None:
        self.callbacks.stopping()
        stop_by = time.monotonic() + self.grace_s
        await self._or_abandon(self.callbacks.pause(), stop_by)
        await super().on_stop()
        await self._or_abandon(self.callbacks.close(), stop_by)

    async def _or_abandon(self, ending: Awaitable[None], stop_by: float) -> None:
        try:
            await asyncio.wait_for(ending, max(0.0, stop_by - time.monotonic()))
        except TimeoutError:
            self.callbacks.abandon()

    def end(self, error: BaseException) -> None:
        """Crash from anywhere on the loop; that of Faust itself reaches the worker above the app."""
        self.add_future(self._end(error))

    async def _end(self, error: BaseException) -> None:
        # First: in a crash of Faust the thread that would carry the last commit ends by itself.
        stop_by = time.monotonic() + self.grace_s
        await self._or_abandon(self.callbacks.pause(), stop_by)
        try:
            await asyncio.wait_for(self._commit_handled(), max(0.0, stop_by - time.monotonic()))
        except Exception as failure:  # with the broker away, say; what is not committed is handled again
            log.warning("what was handled before the failure is not committed", reason=repr(failure))
        await self.crash(error)

    async def _commit_handled(self) -> None:
        """Commit; the first only waits when another commit is on its way, which may know less."""
        if kafka_consumer(self) is not None:
            await self.consumer.commit()
            await self.consumer.commit()

    # -- positions: ours alone count ---------------------------------------------------------------------

    def handled_to(self, topic: str, partition: int, end: int) -> None:
        """Commit up to `end`: everything below it was handled."""
        self.consumer.handled_to(TP(topic, partition), end)

    def stable_end(self, topic: str, partition: int) -> int | None:
        """The last stable offset that a fetch told; None when there was none, or the partition is not ours."""
        consumer, assigned = kafka_consumer(self), TopicPartition(topic, partition)
        if consumer is None or assigned not in consumer.assignment():
            return None
        end = consumer.last_stable_offset(assigned)
        return None if end is None or end < 0 else int(end)

    # -- rebalances --------------------------------------------------------------------------------------

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        given_up = self._given_up()
        if given_up is not None:
            # It joins once more before it ends; not under a name that may be another's by now.
            kafka_consumer(self)._coordinator._group_instance_id = None
            self.callbacks.crash(given_up)
        await self.callbacks.pause()
        await super()._on_partitions_revoked(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # First: events that come before there is somebody to take them would be dropped.
        if not self.should_stop:
            # In a generation that it missed, its partitions were another's.
            kept = generation_id <= self._generation + 1
            self._generation, self._member = generation_id, kafka_consumer(self)._coordinator.member_id
            try:
                self.callbacks.assigned({tp.partition for tp in assigned}, kept=kept)
            except Exception as error:  # Faust swallows what its callbacks raise
                self.callbacks.crash(error)
        await super()._on_partitions_assigned(assigned, generation_id)

    # -- the watchdog ------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Beat for liveness; end the process when it consumes nothing any more, though it lives (B7)."""
        self._settled_at = time.monotonic()
        while not self.should_stop:
            await self.sleep(_WATCH_INTERVAL_S)
            if self.should_stop:
                return
            self.callbacks.beat()
            self._fetch_in_lumps(self.callbacks.is_busy())
            trouble = self._trouble()
            if trouble is not None:
                self.callbacks.crash(trouble)
                return

    def _fetch_in_lumps(self, busy: bool) -> None:
        fetcher = getattr(kafka_consumer(self), "_fetcher", None)
        if fetcher is not None:  # it reads both for each request
            fetcher._fetch_max_wait_ms = LUMP_WAIT_MS if busy else FETCH_WAIT_MS
            fetcher._fetch_min_bytes = LUMP_BYTES if busy else 1

    def _trouble(self) -> BaseException | None:
        consumer = kafka_consumer(self)
        coordinator = getattr(consumer, "_coordinator", None)
        if coordinator is None:
            return None
        if coordinator._pending_exception is not None:
            return BrokerError(f"the group coordinator gave up: {coordinator._pending_exception!r}")
        if coordinator._coordination_task.done() or consumer._fetcher._fetch_task.done():
            return BrokerError("the group coordinator or the fetcher stopped")
        return self._given_up() or self._endless_rebalance()

    def _given_up(self) -> BaseException | None:
        """Whether the group has forgotten this member; what it holds may be another's since."""
        if not self._member or kafka_consumer(self)._coordinator.member_id == self._member:
            return None
        return BrokerError(
            "the group gave this worker up: it was silent for longer than the session timeout, or a batch took "
            "longer than a rebalance may, or another worker of this role has the same name"
        )

    def _endless_rebalance(self) -> BaseException | None:
        now = time.monotonic()
        if not self.rebalancing:
            self._settled_at = now
        # Twice: one that joins waits until the others have finished what runs.
        if now - self._settled_at > 2 * self.conf.broker_rebalance_timeout:
            return BrokerError("a rebalance did not end")
        return None


class PromptWorker(faust.Worker):  # type: ignore[misc]
    """Ends when the app has stopped, where mode sleeps two seconds more; writes no terminal codes to the log."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **options)
        self.spinner = None

    def _gather_all(self) -> None:
        for task in asyncio.all_tasks(loop=self.loop):
            task.cancel()

    async def _sentinel_task(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1.0)


def kafka_consumer(app: App) -> Any:
    """aiokafka's consumer beneath Faust's; None before it has started."""
    return getattr(getattr(app.consumer, "_thread", None), "_consumer", None)


class _QuickConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    def __init__(self, *topics: str, **options: Any) -> None:
        ours = {"fetch_max_wait_ms": FETCH_WAIT_MS, "isolation_level": "read_committed"}
        super().__init__(*topics, **options | ours)


class HandledConsumer(Consumer):  # type: ignore[misc]
    """Hands over what it fetched, commits up to what was handled.

    Faust takes each record through two tasks, a channel and a stream, which costs 0.2 ms; here it goes to its
    partition at once. Faust's ledger of acks misses a gap that is a single record wide (B3), and at one that we
    filled it stops to commit for ever.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._handled: dict[TP, int] = {}
        super().__init__(*arguments, **options)

    async def getmany(self, timeout: float) -> AsyncIterator[Any]:
        """Fetch, and hand all of it over; for the loop of Faust around this nothing is left."""
        fetched, active = await self._wait_next_records(timeout)
        if not self.flow_active:  # partitions move: it comes again, here or to another worker
            await self._seek_back()
        elif fetched and not self.should_stop:
            self._hand_over({tp: fetched[tp] for tp in fetched if active is None or tp in active})
        for record in _NOTHING:
            yield record

    async def _getmany(self, active_partitions: set[TP], timeout: float) -> Mapping[TP, Any]:
        """Of the partitions that have room alone: the records of others stay with aiokafka, which fetches no more
        of them, and hold up nobody."""
        await self.app.callbacks.room()
        roomy = {tp for tp in active_partitions if self.app.callbacks.has_room(tp.partition)}
        if not roomy:  # to aiokafka that would mean all
            return {}
        all_of_them = len(roomy) == len(active_partitions)
        fetched: Mapping[TP, Any] = await super()._getmany(roomy, timeout if all_of_them else _LOOK_AGAIN_S)
        return fetched

    def _hand_over(self, fetched: Mapping[TP, Sequence[ConsumerRecord]]) -> None:
        """One of each topic and partition after the other: what belongs together comes about together."""
        for _, record in self.scheduler.iterate(fetched):
            self.app.callbacks.deliver(record)

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:  # as Faust has it: when the flow goes on it seeks again
            log.warning("cannot seek while partitions move", reason=repr(error))

    def handled_to(self, tp: TP, end: int) -> None:
        """Everything of this partition below `end` was handled."""
        self._handled[tp] = max(end, self._handled.get(tp, 0))

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in tuple(self._handled) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._handled.pop(tp, None)


def build_app(
    settings: Settings, callbacks: Callbacks, *, role: str, topics: Iterable[str], single: bool = False
) -> App:
    """A Faust app that hands what it fetches to `callbacks.deliver`. Raises BrokerError without brokers."""
    if not settings.brokers:
        raise BrokerError("no broker: run `trieflow up`, or set TRIEFLOW_BROKERS to host:port")
    aiokafka.AIOKafkaConsumer = _QuickConsumer
    session = settings.kafka.session_timeout_s
    folder = settings.role_folder(role) / "faust"
    folder.mkdir(parents=True, exist_ok=True)
    app = App(
        f"{settings.prefix}{role}",
        broker=["kafka://" + address for address in settings.brokers.split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        PartitionAssignor=complete_assignor(settings.partitions, single=single),
        Worker=PromptWorker,
        datadir=str(folder),
        processing_guarantee="at_least_once",
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=1,
        web_enabled=False,
        worker_redirect_stdouts=False,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{role}-{settings.worker}",
        consumer_max_fetch_size=6 * 1024 * 1024,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 5,
        broker_request_timeout=max(40.0, session),
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_commit_interval=1.0,
        broker_max_poll_interval=MAX_POLL_INTERVAL_S,
    )
    app.callbacks, app.grace_s = callbacks, settings.grace_s
    app.transport.Consumer = HandledConsumer
    for name in topics:
        app.topics.add(app.topic(settings.topic(name)))  # subscribed to; no agent of Faust's reads it
    return app


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
