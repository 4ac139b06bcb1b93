"""A worker on the real runtime that writes down what it handled, and misbehaves as a test tells it.

What was handled goes to the topic `out`, confirmed by the broker, before the runtime may ack it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog
from aiokafka import ConsumerRecord
from pydantic import BaseModel, ConfigDict

from agents import faust_app, partition_runner
from agents.outbox import Outbox, Outgoing
from agents.runtime import Runtime, RuntimeOptions
from agents.worker import Worker
from streams.records import Record
from streams.settings import Settings, load_settings

log = structlog.get_logger()

ROLE = "writer"


class Steering(BaseModel):
    """What the test asks for. Offsets count in every partition of every topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[str, ...] = ("in",)
    batch: int = 1
    queue: int = 256
    concurrent_batches: int = 1
    fail_at: int | None = None
    seconds: float = 0.0
    slow_at: dict[int, float] = {}
    in_thread: bool = False
    faust_skips: tuple[int, ...] = ()
    faust_never_resumes: bool = False
    misses_a_generation: bool = False
    slow_close: float = 0.0
    slow_open: dict[int, float] = {}
    """Seconds, by partition."""
    slow_between: float = 0.0
    remembers: bool = False
    padding: int = 0
    output: str = "out"
    dies: Literal["coordinator", "fetcher"] | None = None
    rebalance_timeout: float = faust_app.REBALANCE_TIMEOUT_S
    look_interval: float = partition_runner.LOOK_INTERVAL_S


class Handled(BaseModel):
    """One line of the topic `out`."""

    model_config = ConfigDict(frozen=True)

    worker: str
    topic: str
    partition: int
    offset: int
    value: str | None
    padding: str = ""


class Writer:
    """A `PartitionHandler` that writes each record to `out`, and then its position to its own disk if told to."""

    def __init__(self, settings: Settings, partition: int, *, steering: Steering, outbox: Outbox) -> None:
        self._settings = settings
        self._steering = steering
        self._outbox = outbox
        self._partition = partition

    async def open(self) -> None:
        log.info("opening", partition=self._partition)
        await self._take_time(self._steering.slow_open.get(self._partition, 0.0))
        log.info("opened", partition=self._partition)

    async def close(self) -> None:
        log.info("closing", partition=self._partition)
        await self._take_time(self._steering.slow_close)
        log.info("closed", partition=self._partition)

    async def between_batches(self) -> bool:
        if self._steering.slow_between:
            log.info("between batches", partition=self._partition)
            await self._take_time(self._steering.slow_between)
            log.info("batches again", partition=self._partition)
        return False

    def next_offsets(self) -> Mapping[str, int]:
        if not self._steering.remembers:
            return {}
        topics = (self._settings.topic(name) for name in self._steering.topics)
        return {t: read_position(self._settings, partition=self._partition, topic=t) for t in topics}

    async def handle(self, records: Sequence[Record]) -> None:
        offsets = [record.offset for record in records]
        log.info("handling", partition=records[0].partition, offsets=offsets)
        await self._take_time(max(self._steering.slow_at.get(o, self._steering.seconds) for o in offsets))
        if self._steering.fail_at in offsets:
            raise RuntimeError("broken on purpose")
        await self._outbox.send([self._outgoing(record) for record in records])
        if self._steering.remembers:
            for record in records:
                write_position(
                    self._settings, partition=self._partition, topic=record.topic, offset=record.offset + 1
                )
        log.info("handled", partition=records[0].partition, offsets=offsets)

    async def _take_time(self, seconds: float) -> None:
        if self._steering.in_thread:
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
        else:
            await asyncio.sleep(seconds)

    def _outgoing(self, record: Record) -> Outgoing:
        line = Handled(
            worker=self._settings.worker,
            topic=record.topic.removeprefix(self._settings.prefix),
            partition=record.partition,
            offset=record.offset,
            value=None if record.value is None else record.value.decode(),
            padding=os.urandom(self._steering.padding // 2).hex(),
        )
        topic = self._settings.topic(self._steering.output)
        return Outgoing(topic, None, line.model_dump_json().encode(), [], partition=0)


def _position_file(settings: Settings, *, partition: int, topic: str) -> Path:
    return settings.role_folder(ROLE) / "positions" / str(partition) / topic


def read_position(settings: Settings, *, partition: int, topic: str) -> int:
    """The next offset that the state of a worker wants to see."""
    path = _position_file(settings, partition=partition, topic=topic)
    return int(path.read_text()) if path.exists() else 0


def write_position(settings: Settings, *, partition: int, topic: str, offset: int) -> None:
    path = _position_file(settings, partition=partition, topic=topic)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(str(offset))
    os.replace(unfinished, path)


class SteeredRuntime(Runtime):
    """The runtime, with a Faust beneath it that loses events, and of which parts die in silence."""

    def __init__(self, settings: Settings, steering: Steering, **keywords: Any) -> None:
        self._steering = steering
        faust_app.REBALANCE_TIMEOUT_S = steering.rebalance_timeout
        partition_runner.LOOK_INTERVAL_S = steering.look_interval
        super().__init__(settings, **keywords)
        if steering.faust_never_resumes:
            self.app.tables.recovery._resume_streams = self._never

    def deliver(self, fetched: ConsumerRecord) -> None:
        if fetched.offset in self._steering.faust_skips:
            log.info("skipped", offsets=[fetched.offset])
            return
        super().deliver(fetched)
        if self._steering.misses_a_generation:
            self.app._generation -= 1
        if self._steering.dies is not None:
            self._end_in_silence()

    def _end_in_silence(self) -> None:
        consumer = faust_app.kafka_consumer(self.app)
        tasks = {
            "coordinator": consumer._coordinator._coordination_task,
            "fetcher": consumer._fetcher._fetch_task,
        }
        task = tasks[str(self._steering.dies)]
        log.info("cancelled", task=self._steering.dies)
        task.get_loop().call_soon_threadsafe(task.cancel)

    async def _never(self, generation_id: int = 0) -> None:
        await asyncio.sleep(3_600)


def run(steering: str, environment: Mapping[str, str], log_file: str) -> None:
    """The whole life of a worker, in a process of its own that was forked with everything imported."""
    output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    _work(load_settings(), Steering.model_validate_json(steering))


def _work(settings: Settings, steering: Steering) -> None:
    outbox = Outbox(settings)
    with Worker(settings, ROLE) as worker:
        worker.health.set_ready("model", True)
        runtime = SteeredRuntime(
            settings,
            steering,
            options=RuntimeOptions(
                role=ROLE,
                topics=steering.topics,
                batch=steering.batch,
                batch_wait_s=0.2 if steering.batch > 1 else 0.0,
                queue=steering.queue,
                concurrent_batches=steering.concurrent_batches,
            ),
            handler=lambda partition: Writer(settings, partition, steering=steering, outbox=outbox),
            health=worker.health,
        )
        runtime.run()
