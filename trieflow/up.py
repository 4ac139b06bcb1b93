"""`trieflow up`: Kafka, topics and workers on one machine, as one process tree.

The order of the start: folder, broker, topics, workers; of the stop: workers, broker, folder. When this process is
killed, broker and workers end with it: that is a crash of everything, and a crash loses nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from streams.settings import Settings
from streams.topics import create_topics
from trieflow.running import RunningSystem, held
from trieflow.status import WorkerLine, workers
from trieflow.supervisor import Supervisor, WorkerName

BROKER_FOLDER = "broker"
"""Kafka's own folder, below the data folder."""

_TICK_S = 0.2
_READY_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Plan:
    """How many workers of each role; of the others there is always one."""

    indexers: int = 1
    searchers: int = 1

    def names(self) -> list[WorkerName]:
        counts = {
            "indexer": self.indexers,
            "searcher": self.searchers,
            "curator": 1,
            "learner": 1,
            "trainer": 1,
        }
        return [WorkerName(role, str(n)) for role, count in counts.items() for n in range(count)]


def run_system(
    settings: Settings,
    plan: Plan,
    *,
    note: Callable[[str], None],
    on_ready: Callable[[RunningSystem, list[WorkerLine]], None],
) -> None:
    """Run everything until SIGINT or SIGTERM, then stop in order.

    `on_ready` is called once, when every worker is ready. Raises AlreadyRunningError, BrokerError,
    TopicMismatchError.
    """
    settings = settings.model_copy(update={"data": settings.data.absolute()})
    with _stop_signals() as stop, held(settings.data), _broker(settings, note) as (brokers, tick):
        _forget_dead_workers(settings)
        embedded = settings.brokers is None
        settings = settings.model_copy(update={"brokers": brokers})
        created: list[str] = []
        create_topics(settings, on_created=created.append)
        if created:
            note(f"created {len(created)} topics with prefix {settings.prefix!r}")
        system = _announce(settings, brokers, embedded=embedded)
        supervisor = Supervisor(settings, plan.names(), note)
        try:
            ready = _until_ready(settings, supervisor, stop, tick)
            if ready is not None:
                system = system.model_copy(update={"ready": True})
                system.write(settings.data)
                on_ready(system, ready)
            while not stop.wait(_TICK_S):
                tick()
                supervisor.tick()
        finally:
            note("stopping")
            for name in supervisor.stop():
                note(f"{name} did not stop in time and was killed; nothing is lost")


def _forget_dead_workers(settings: Settings) -> None:
    """Remove what killed workers of an earlier run left, or `status` would miss them for ever."""
    for line in workers(settings.data):
        if line.state == "gone":
            (settings.data / "run" / f"{line.role}-{line.worker}.json").unlink(missing_ok=True)


def _announce(settings: Settings, brokers: str, *, embedded: bool) -> RunningSystem:
    system = RunningSystem(
        pid=os.getpid(),
        brokers=brokers,
        prefix=settings.prefix,
        partitions=settings.partitions,
        embedded=embedded,
    )
    system.write(settings.data)
    return system


def _until_ready(
    settings: Settings, supervisor: Supervisor, stop: threading.Event, tick: Callable[[], None]
) -> list[WorkerLine] | None:
    """Run the workers until all of them are ready; None when a stop was asked for meanwhile."""
    asked = 0.0
    while not stop.wait(_TICK_S):
        tick()
        supervisor.tick()
        if time.monotonic() - asked < _READY_INTERVAL_S:
            continue
        asked = time.monotonic()
        lines = {line.pid: line for line in workers(settings.data)}
        ours = [lines[worker.pid] for worker in supervisor.workers if worker.pid in lines]
        if len(ours) == len(supervisor.workers) and all(line.state == "ready" for line in ours):
            return ours
    return None


@contextmanager
def _broker(settings: Settings, note: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Where Kafka is, and what to call often to keep it alive: nothing for a broker that is named."""
    if settings.brokers:
        yield settings.brokers, lambda: None
        return
    from trieflow.broker_keeper import BrokerKeeper

    keeper = BrokerKeeper(settings.data / BROKER_FOLDER, note)
    try:
        yield keeper.start(), keeper.tick
    finally:
        keeper.stop()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; the former handlers come back at the end."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
