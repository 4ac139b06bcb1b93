"""A whole system under a prefix of its own: topics, workers, a client, and every record that was written."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, Message

from streams.clients import producer
from streams.events.documents import Receipt
from streams.records import Record, read_to_end
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from tests.recovery.processes import WorkerProcess
from tests.recovery.waiting import eventually
from tests.recovery.workload import DocumentEvent, Truth, Workload
from trieflow import Client

QUIET_S = 90.0
"""How long the system may take until it has dealt with everything; a killed owner is missed after 6 s."""
_CONFIRM_S = 120.0


class System:
    """One prefix on a running broker. Workers that are left when it ends are killed.

    `settings` are names as in the environment: `index__ids_from="64"`.
    """

    def __init__(self, brokers: str, data: Path, *, partitions: int = 2, **settings: str) -> None:
        self.data = data
        self._given = {
            "brokers": brokers,
            "prefix": f"r{uuid.uuid4().hex[:8]}.",
            "partitions": str(partitions),
            "data": str(data),
            "encoder": "hash",
            "kafka__session_timeout_s": "6",
            "indexer__batch": "8",
        } | settings
        self.settings: Settings = load_settings(**_by_section(self._given))
        self._workers: list[WorkerProcess] = []
        self._read: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
        data.mkdir(parents=True, exist_ok=True)
        create_topics(self.settings)
        self.client = Client(self.settings)
        self.producer = producer(self.settings, **{"delivery.timeout.ms": int(_CONFIRM_S * 1_000)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
        self.client.close()
        self.producer.purge()
        del self.producer  # that is how it is closed: else it looks for the broker until the end

    # -- workers ----------------------------------------------------------------------------------------

    def start(self, role: str, worker: str = "0", *, crash_at: str | None = None) -> WorkerProcess:
        """Start a worker process. `crash_at` is `<place>:<passage>` (see `agents/crash_points.py`)."""
        given = self._given | {"worker": worker} | ({"crash_at": crash_at} if crash_at else {})
        process = WorkerProcess(role, worker, given, data=self.data)
        self._workers.append(process)
        return process

    def folder(self, role: str, worker: str = "0") -> Path:
        """Where a worker keeps its shards."""
        return self.data / f"{role}-{worker}"

    # -- publishing -------------------------------------------------------------------------------------

    def publish(self, events: Iterable[DocumentEvent]) -> int:
        """Write events; returns how many when all are confirmed."""
        count, failures = 0, list[str]()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        for count, event in enumerate(events, start=1):
            place = {} if event.partition is None else {"partition": event.partition}
            self.producer.produce(
                self.settings.topic("documents"),
                key=event.key.encode(),
                value=event.value,
                headers=event.headers,
                on_delivery=delivered,
                **place,
            )
            self.producer.poll(0)
        assert self.producer.flush(_CONFIRM_S) == 0
        assert not failures
        return count

    @contextmanager
    def load(self, workload: Workload, *, rate: int = 40) -> Iterator[None]:
        """Publish `rate` events a second for as long as the block runs."""
        stopping = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                while not stopping.wait(0.25):
                    self.publish(workload.take(rate // 4))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="load", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
        if failures:
            raise failures[0]

    # -- what was written -------------------------------------------------------------------------------

    def records(self, name: str) -> list[Record]:
        """All committed records of a topic, by partition and offset."""
        single = name in (
            "codebooks",
            "models",
            "training",
            "click-memory",
            "profiles",
            "user-salts",
        ) or name.endswith(".dlq")
        partitions = 1 if single else self.settings.partitions
        for partition in range(partitions):
            known = self._read[name][partition]
            start = known[-1].offset + 1 if known else 0
            topic = self.settings.topic(name)
            for batch in read_to_end(self.settings, topic=topic, partition=partition, start=start):
                known += batch
        return [record for partition in range(partitions) for record in self._read[name][partition]]

    def truth(self) -> Truth:
        """What must have become of everything that stands in `documents`."""
        return Truth.of(self.records("documents"), partitions=self.settings.partitions)

    def wait_for_receipts(self, timeout: float = QUIET_S) -> Truth:
        """Wait until every event has a receipt; returns the truth. Nothing may be published meanwhile."""
        truth = self.truth()
        deadline = time.monotonic() + timeout
        while missing := truth.statuses.keys() - self.receipted():
            assert time.monotonic() < deadline, (
                f"{len(missing)} events have no receipt: {sorted(missing)[:5]}"
            )
            time.sleep(0.2)
        return truth

    def receipted(self) -> set[tuple[int, int]]:
        """The events that have a receipt."""
        receipts = [Receipt.model_validate_json(r.value or b"") for r in self.records("receipts")]
        return {(receipt.source.partition, receipt.source.offset) for receipt in receipts}

    def wait_until_dealt_with(self, timeout: float = QUIET_S) -> None:
        """Wait until everything that stands in `documents` now has a receipt, while more comes in."""
        wanted = {(record.partition, record.offset) for record in self.records("documents")}
        eventually(lambda: wanted <= self.receipted(), timeout, what=f"{len(wanted)} events have a receipt")


def _by_section(given: Mapping[str, str]) -> dict[str, object]:
    """Names of the environment as keywords: `index__ids_from` becomes `ids_from` of `index`."""
    keywords: dict[str, Any] = {}
    for name, value in given.items():
        section, _, setting = name.partition("__")
        if setting:
            keywords.setdefault(section, {})[setting] = value
        else:
            keywords[name] = value
    return keywords
