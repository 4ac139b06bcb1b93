"""A small running system for tests: topics of its own, workers as real processes, and a plain Kafka client.

Everything that the workers say is collected by a thread, so that a test asks for what it expects and waits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaException, TopicPartition

from streams.clients import producer, reader
from streams.partitioner import partition_of
from streams.records import Record
from streams.settings import Settings, load_settings
from streams.topics import create_topics

PARTITIONS = 2
START_S = 90.0
WAIT_S = 20.0

_START = "from streams.settings import load_settings; import agents.{0} as role; role.run(load_settings())"


@dataclass(frozen=True)
class Written:
    """Where a record stands; `refusal` is the name of the broker's error when it was not taken."""

    partition: int
    offset: int
    refusal: str | None = None


class WorkerDiedError(AssertionError):
    """A worker process ended: what it was given must never do that."""


@dataclass
class World:
    """Topics, workers and a client. Make it by `running_world`."""

    settings: Settings
    folder: Path
    extra_topics: Sequence[str] = ()
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _seen: dict[str, list[Record]] = field(default_factory=dict)
    _receipts: dict[tuple[int, int], Record] = field(default_factory=dict)
    _answers: dict[bytes, Record] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        # Larger than any topic takes, so that it is the broker and the workers that refuse.
        self.producer = producer(self.settings, **{"message.max.bytes": 64 * 1024 * 1024})
        self._tail = threading.Thread(target=self._follow, name="tail")
        self._tail.start()

    # -- workers ----------------------------------------------------------------------------------------

    def start(self, role: str, **environment: str) -> None:
        """Start a worker process; it writes its log to `<folder>/<role>.log`."""
        settings = self.settings
        own = {
            "TRIEFLOW_BROKERS": settings.brokers or "",
            "TRIEFLOW_PREFIX": settings.prefix,
            "TRIEFLOW_DATA": str(self.folder),
            "TRIEFLOW_ENCODER": "hash",
            "TRIEFLOW_PARTITIONS": str(settings.partitions),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}
        with (self.folder / f"{role}.log").open("wb") as log:
            self._processes[role] = subprocess.Popen(
                [sys.executable, "-c", _START.format(role)],
                env=inherited | own | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def check_alive(self) -> None:
        """Raise WorkerDiedError, with its last words, when a worker has ended."""
        for role, process in self._processes.items():
            if process.poll() is not None:
                words = (self.folder / f"{role}.log").read_text(errors="replace")[-3_000:]
                raise WorkerDiedError(f"the {role} ended with {process.returncode}:\n{words}")

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._stopping.set()
        self._tail.join()
        self.producer.flush(5)

    # -- writing ----------------------------------------------------------------------------------------

    def write(
        self,
        name: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> Written:
        """Write a record and wait for the broker's word. `name` is a topic without the prefix."""
        answers: list[Written] = []

        def delivered(error: Any, message: Any) -> None:
            refusal = None if error is None else error.name()
            answers.append(Written(message.partition(), message.offset() or 0, refusal))

        place = {} if partition is None else {"partition": partition}
        topic = self.settings.topic(name)
        self.producer.produce(topic, value, key, headers=list(headers), on_delivery=delivered, **place)
        while not answers:
            self.producer.poll(0.1)
        return answers[0]

    # -- reading ----------------------------------------------------------------------------------------

    def seen(self, name: str) -> list[Record]:
        """What has been read of a topic so far, in order of arrival."""
        with self._changed:
            return list(self._seen.get(self.settings.topic(name), ()))

    def wait_for(self, found: Callable[[], Record | None], *, timeout: float = WAIT_S) -> Record:
        """The record, as soon as it is there. Raises WorkerDiedError, TimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (record := found()) is None:
                self.check_alive()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing came within {timeout:g} s")
                self._changed.wait(0.2)
            return record

    def wait_for_log(self, role: str, words: str, *, timeout: float = WAIT_S) -> None:
        """Wait until a worker has said these words. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while words not in (self.folder / f"{role}.log").read_text(errors="replace"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the {role} did not say {words!r} within {timeout:g} s")
            time.sleep(0.05)

    def receipt_of(self, written: Written, *, timeout: float = WAIT_S) -> Record:
        """The receipt of the document event that stands there."""
        place = (written.partition, written.offset)
        return self.wait_for(lambda: self._receipts.get(place), timeout=timeout)

    def answer_to(self, correlation_id: str, *, timeout: float = WAIT_S) -> Record:
        """The answer, on any topic that is followed, with this correlation id."""
        return self.wait_for(lambda: self._answers.get(correlation_id.encode()), timeout=timeout)

    def search(self, query: Mapping[str, Any], *, timeout: float = WAIT_S) -> dict[str, Any]:
        """Ask and return the answer's body."""
        query_id = str(uuid.uuid4())
        deadline = str(int((time.time() + timeout) * 1_000)).encode()
        headers = [("correlation-id", query_id.encode()), ("deadline", deadline)]
        self.write("queries", key=query_id.encode(), value=orjson.dumps(query), headers=headers)
        return body(self.answer_to(query_id, timeout=timeout))

    def key_in(self, partition: int, start: str) -> bytes:
        """A new key that begins with `start` and belongs to a partition."""
        while True:
            key = f"{start}-{uuid.uuid4().hex[:8]}".encode()
            if partition_of(key, self.settings.partitions) == partition:
                return key

    def _follow(self) -> None:
        names = ("receipts", "results", "documents.dlq", "queries.dlq", "moves.dlq", *self.extra_topics)
        consumer = reader(self.settings, **{"enable.partition.eof": False})
        metadata = consumer.list_topics(timeout=20).topics
        topics = [self.settings.topic(name) for name in names]
        consumer.assign([TopicPartition(t, p, 0) for t in topics for p in metadata[t].partitions])
        try:
            while not self._stopping.is_set():
                self._take(consumer.consume(500, 0.05))
        finally:
            consumer.close()

    def _take(self, messages: Sequence[Any]) -> None:
        if not messages:
            return
        with self._changed:
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                record = Record.of(message)
                self._seen.setdefault(record.topic, []).append(record)
                self._index(record)
            self._changed.notify_all()

    def _index(self, record: Record) -> None:
        name = record.topic.removeprefix(self.settings.prefix)
        if name == "receipts":
            source = body(record)["source"]
            self._receipts[source["partition"], source["offset"]] = record
        elif name.startswith("results"):
            self._answers[dict(record.headers).get("correlation-id", b"")] = record


def body(record: Record) -> dict[str, Any]:
    """The JSON of a record."""
    loaded: dict[str, Any] = orjson.loads(record.value or b"null")
    return loaded


def world_settings(brokers: str, folder: Path) -> Settings:
    """Settings of a system whose topics meet no other test's."""
    prefix = f"world-{uuid.uuid4().hex[:8]}."
    return load_settings(brokers=brokers, prefix=prefix, partitions=PARTITIONS, data=folder, encoder="hash")


@contextmanager
def running_world(
    brokers: str, folder: Path, *, roles: Sequence[str] = ("indexer", "searcher"), **environment: str
) -> Iterator[World]:
    """Create topics, start the workers, and wait until a document goes the whole way."""
    settings = world_settings(brokers, folder)
    create_topics(settings)
    world = World(settings, folder)
    try:
        for role in roles:
            world.start(role, **environment)
        for partition in range(PARTITIONS):
            first = world.write(
                "documents", key=world.key_in(partition, "first"), value=b'{"title": "first"}'
            )
            world.receipt_of(first, timeout=START_S)
        if "searcher" in roles:
            world.search({"text": "first"}, timeout=START_S)
        yield world
    finally:
        world.stop()
