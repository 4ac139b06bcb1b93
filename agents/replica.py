"""A replica of the index log: a thread that reads all partitions of `assignments` into a shard of its own.

No consumer group and no Faust: partitions are assigned by hand, the position stands in the replica's RocksDB,
in the same write batch as the rows. The later record in a partition wins; it has one fenced writer.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, Message, TopicPartition

from agents.assignment_log import read_log_record
from agents.sensors import Sensor
from agents.shards import CheckpointSaver
from state.records import LogRecord
from state.shard import Shard
from streams.clients import FOLLOWING, reader
from streams.errors import BrokerError
from streams.events.base import LogPosition
from streams.records import Record, first_and_end, raise_on_error
from streams.settings import Settings

log = structlog.get_logger()

BATCH = 256
"""Records in one write batch. Small enough that a query never waits long for the index."""
REST_S = 0.01
_POLL_S = 0.2
_TOUCH_S = 60.0
_REPORT_S = 1.0

OnRecords = Callable[[Sequence[LogRecord], Mapping[tuple[int, int], int]], None]


class Replica:
    """Follows the log. `on_records(records, timestamps)` runs on its thread after the shard has them.

    `positions` (next offset by partition) is read without locks. `is_ready` once the ends that stood there at
    the start are reached.
    """

    def __init__(
        self,
        settings: Settings,
        shard: Shard,
        *,
        sensor: Sensor,
        on_records: OnRecords = lambda records, timestamps: None,
        on_advance: Callable[[], None] = lambda: None,
        checkpoints: CheckpointSaver | None = None,
    ) -> None:
        self.positions = {p: shard.position(p) for p in range(settings.partitions)}
        self.failure: Exception | None = None
        self._settings = settings
        self._shard = shard
        self._sensor = sensor
        self._on_records = on_records
        self._on_advance = on_advance
        self._checkpoints = checkpoints
        self._in_hand: Mapping[int, int] = {}
        self._ends: dict[int, int] = {}
        self._stopping = threading.Event()
        self._touched = time.monotonic()
        self._reported = 0.0
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)

    @property
    def is_ready(self) -> bool:
        return bool(self._ends) and all(self.positions[p] >= end for p, end in self._ends.items())

    def start(self) -> None:
        """Read the ends of the log, then follow it on a thread. Raises BrokerError when Kafka does not answer."""
        self._ends = self._read_ends()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def has(self, wanted: Sequence[LogPosition]) -> bool:
        """True when every position, inclusive, is in the replica. Unknown partitions are never there."""
        return all(self.positions.get(w.partition, -1) > w.offset for w in wanted)

    def fresh_to(self) -> list[LogPosition]:
        """The last position, by partition, that the replica has seen."""
        return [LogPosition(partition=p, offset=n - 1) for p, n in sorted(self.positions.items()) if n > 0]

    def fresh_until(self) -> list[LogPosition]:
        """The last position, by partition, of which the index may hold something: `fresh_to`, and what comes in."""
        reached = {p: max(n, self._in_hand.get(p, 0)) for p, n in sorted(self.positions.items())}
        return [LogPosition(partition=p, offset=n - 1) for p, n in reached.items() if n > 0]

    def lag(self) -> dict[int, int]:
        """Records behind the ends of the log, by partition. Asks Kafka."""
        return {p: max(0, end - self.positions[p]) for p, end in self._read_ends().items()}

    def _read_ends(self) -> dict[int, int]:
        consumer = reader(self._settings)
        topic = self._settings.topic("assignments")
        try:
            partitions = [TopicPartition(topic, p) for p in range(self._settings.partitions)]
            return {tp.partition: first_and_end(consumer, tp, timeout_s=30.0)[1] for tp in partitions}
        finally:
            consumer.close()

    def _run(self) -> None:
        consumer = reader(self._settings, **FOLLOWING)
        topic = self._settings.topic("assignments")
        try:
            consumer.assign([TopicPartition(topic, p, offset) for p, offset in self.positions.items()])
            while not self._stopping.is_set():
                messages = _read(consumer)
                if messages:
                    self._take(messages)
                    if self.is_ready:
                        time.sleep(rest_s(len(messages)))
                self._touch()
                self._report_lag(consumer)
        except Exception as error:
            log.error("the index log cannot be followed", exc_info=error)
            self.failure = error
        finally:
            consumer.close()

    def _take(self, messages: Sequence[Message]) -> None:
        started = time.perf_counter()
        ends = {m.partition() or 0: m.offset() or 0 for m in messages if raise_on_error(m)}
        raw = [Record.of(m) for m in messages if m.error() is None]
        records = [read_log_record(record) for record in raw]
        if records:
            self._in_hand = {record.partition: record.offset + 1 for record in records}
            self._shard.apply(records)
            self._on_records(records, {(r.partition, r.offset): r.timestamp_ms for r in raw})
            self._sensor.log_applied(len(records), time.perf_counter() - started)
        for record in records:
            self.positions[record.partition] = record.offset + 1
        for partition, end in ends.items():
            # The last record may be a commit marker that never arrives: the end of the partition counts.
            self.positions[partition] = max(self.positions[partition], end)
        self._on_advance()

    def _touch(self) -> None:
        """Renew the time of the last write, so that a replica of a quiet log is not taken for an old one."""
        if time.monotonic() - self._touched > _TOUCH_S:
            self._touched = time.monotonic()
            self._shard.apply([])
        if self._checkpoints is not None and self._checkpoints.is_due:
            self._checkpoints.save(self._shard)

    def _report_lag(self, consumer: Consumer) -> None:
        """By the ends that came with the last fetches: nobody is asked."""
        if time.monotonic() - self._reported < _REPORT_S:
            return
        self._reported = time.monotonic()
        topic = self._settings.topic("assignments")
        for partition, position in self.positions.items():
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if end >= 0:
                self._sensor.lag("assignments", partition, max(0, end - position))


def rest_s(records: int) -> float:
    """How long to rest after so many records, so that queries get the interpreter.

    What comes in meanwhile is one batch, which costs little more than one record. None where much is waiting.
    """
    return REST_S if records < BATCH else 0.0


def _read(consumer: Consumer) -> list[Message]:
    """What is there, at once: waiting for a full batch would delay the last document of it."""
    first = consumer.poll(_POLL_S)
    if first is None:
        return []
    return [first, *consumer.consume(BATCH - 1, 0)]


def wait_until_ready(replica: Replica, *, timeout_s: float = math.inf) -> None:
    """Block until the replica is ready. Raises BrokerError when it failed or the time is over."""
    deadline = time.monotonic() + timeout_s
    while not replica.is_ready:
        if replica.failure is not None:
            raise BrokerError(f"the index log cannot be followed: {replica.failure}") from replica.failure
        if time.monotonic() > deadline:
            raise BrokerError(f"the index log was not read to its end within {timeout_s:.0f} s")
        time.sleep(0.02)
