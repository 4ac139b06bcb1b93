"""Workers of `runtime_worker.py` in one consumer group, the topics between them, and what came of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from agents.health import WorkerFile
from streams.clients import client_config, producer
from streams.records import Record, committed_offset, read_to_end
from streams.settings import Settings, load_settings
from tests.recovery.runtime_worker import ROLE, Handled, Steering, run, write_position
from tests.recovery.waiting import eventually

WAIT_S = 60.0
"""Long enough for two people on two cores; nothing is asserted about it."""
GRACE_S = 4
COMMIT_S = 1.0
"""How often Faust commits."""

_FORKS = multiprocessing.get_context("forkserver")
"""Workers are forked from a process that has imported everything: half of their start is imports."""
_FORKS.set_forkserver_preload(["tests.recovery.runtime_worker"])


class SteeredWorker:
    """One process. Its log is read as fields."""

    def __init__(self, name: str, steering: Steering, environment: dict[str, str], *, data: Path) -> None:
        self.name = name
        self._status_file = data / "run" / f"{ROLE}-{name}.json"
        self._log = data / f"{name}-{uuid.uuid4().hex[:4]}.log"
        self._log.touch()
        arguments = (steering.model_dump_json(), environment, str(self._log))
        self._process = _FORKS.Process(target=run, args=arguments, name=f"{ROLE}-{name}")
        self._process.start()

    def entries(self) -> list[dict[str, Any]]:
        """What it logged with fields, in order."""
        lines = self.log().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log entries of this name, in order."""
        return [entry for entry in self.entries() if entry["event"] == event]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def exit_status(self) -> int | None:
        return self._process.exitcode

    def wait_for(self, event: str, *, offset: int | None = None) -> None:
        """Wait until it logged this, of this offset."""

        def seen() -> bool:
            return any(offset in (None, *entry.get("offsets", ())) for entry in self.logged(event))

        self._wait(seen, f"{self.name} logs {event!r}")

    def wait_until_ready(self) -> None:
        self._wait(lambda: self.ask("ready")[0] == 200, f"{self.name} is ready")

    def ask(self, page: str) -> tuple[int, str]:
        """Status and body of one of its health pages; (0, "") when it does not answer."""
        try:
            file = WorkerFile.model_validate_json(self._status_file.read_bytes())
            if file.pid != self._process.pid:
                return 0, ""
            with urllib.request.urlopen(f"{file.url}/{page}", timeout=2.0) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, ValueError):
            return 0, ""

    def pages_until_exit(self, page: str) -> list[tuple[int, str]]:
        """Every answer that one of its health pages gave until it ended."""
        answers = []
        deadline = time.monotonic() + WAIT_S
        while self.exit_status is None and time.monotonic() < deadline:
            answers.append(self.ask(page))
            time.sleep(0.05)
        return answers

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait_exit(self, timeout: float = WAIT_S) -> int:
        """Wait for the end, return the exit status."""
        self._process.join(timeout)
        status = self.exit_status
        assert status is not None, f"{self.name} still runs after {timeout:.0f} s:\n{self.log()[-4000:]}"
        return status

    def _wait(self, condition: Any, what: str) -> None:
        def holds() -> bool:
            if condition():
                return True
            assert self.exit_status is None, (
                f"{self.name} ended with {self.exit_status}:\n{self.log()[-4000:]}"
            )
            return False

        eventually(holds, WAIT_S, what=what)


class Group:
    """A consumer group with topics of its own on a running broker. Workers that are left at the end are killed."""

    def __init__(self, brokers: str, data: Path, *, partitions: int = 1, grace_s: float = GRACE_S) -> None:
        self._data = data
        self._given = {
            "brokers": brokers,
            "prefix": f"g{uuid.uuid4().hex[:8]}.",
            "partitions": str(partitions),
            "data": str(data),
            "grace_s": str(grace_s),
            "kafka__session_timeout_s": "6",
        }
        data.mkdir(parents=True, exist_ok=True)
        flat = {name: value for name, value in self._given.items() if "__" not in name}
        self.settings: Settings = load_settings(**flat)
        self._workers: list[SteeredWorker] = []
        self.create_topic("in", partitions=partitions)
        self.create_topic("out")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()

    def create_topic(self, name: str, *, partitions: int = 1, **config: str) -> None:
        topic = NewTopic(self.settings.topic(name), partitions, 1, config=config)
        admin = AdminClient(client_config(self.settings))  # kept: its futures fail when it is gone
        for future in admin.create_topics([topic]).values():
            future.result(WAIT_S)

    def start(self, name: str = "0", **steering: Any) -> SteeredWorker:
        """Start a worker; keywords are those of `Steering`."""
        environment = _environment(self._given | {"worker": name, "config": os.devnull})
        worker = SteeredWorker(name, Steering(**steering), environment, data=self._data)
        self._workers.append(worker)
        return worker

    def publish(self, values: Iterable[str | None], *, topic: str = "in", partition: int = 0) -> None:
        """Write records; returns when all are confirmed."""
        failures: list[str] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error.str())

        client = producer(self.settings)
        for value in values:
            data = None if value is None else value.encode()
            client.produce(
                self.settings.topic(topic), key=b"k", value=data, partition=partition, on_delivery=delivered
            )
            client.poll(0)
        assert client.flush(WAIT_S) == 0
        assert not failures

    def delete_before(self, offset: int) -> None:
        """Delete the head of partition 0, as retention does."""
        admin = AdminClient(client_config(self.settings))
        place = TopicPartition(self.settings.topic("in"), 0, offset)
        for future in admin.delete_records([place]).values():
            future.result(WAIT_S)

    def set_position(self, offset: int) -> None:
        """Put partition 0 of worker "0" where its state says that this is the next offset."""
        write_position(self.settings, partition=0, topic=self.settings.topic("in"), offset=offset)

    def commit(self, offset: int) -> None:
        """Put the group where it would read this offset of partition 0 next; no worker may run."""
        place = TopicPartition(self.settings.topic("in"), 0, offset)
        group = ConsumerGroupTopicPartitions(f"{self.settings.prefix}{ROLE}", [place])
        admin = AdminClient(client_config(self.settings))

        def is_committed() -> bool:
            try:
                for future in admin.alter_consumer_group_offsets([group]).values():
                    future.result(WAIT_S)
            except KafkaException:  # the first group of a broker waits for its topic of offsets
                return False
            return True

        eventually(is_committed, WAIT_S, what="the group stands there")

    def committed(self, *, topic: str = "in", partition: int = 0) -> int:
        """The next offset that the group would read."""
        group = f"{self.settings.prefix}{ROLE}"
        return committed_offset(
            self.settings, group=group, topic=self.settings.topic(topic), partition=partition
        )

    def records(self, topic: str, *, partition: int = 0) -> list[Record]:
        batches = read_to_end(self.settings, topic=self.settings.topic(topic), partition=partition, start=0)
        return [record for batch in batches for record in batch]

    def handled(self) -> list[Handled]:
        """Everything that was handled, in the order in which it was written."""
        return [Handled.model_validate_json(record.value or b"") for record in self.records("out")]

    def offsets(self, *, topic: str = "in", partition: int = 0) -> list[int]:
        """The offsets handled of one partition, in the order in which they were written, as often as they were."""
        return [h.offset for h in self.handled() if (h.topic, h.partition) == (topic, partition)]

    def wait_until_handled(self, offsets: Sequence[int], *, topic: str = "in", partition: int = 0) -> None:
        """Wait until all of these were handled."""
        eventually(
            lambda: set(offsets) <= set(self.offsets(topic=topic, partition=partition)),
            WAIT_S,
            what=f"partition {partition} of {topic} is handled up to {max(offsets)}",
        )

    def wait_until_handled_by(self, worker: str) -> None:
        eventually(
            lambda: any(h.worker == worker for h in self.handled()),
            WAIT_S,
            what=f"{worker} handles something",
        )

    def assert_nothing_unhandled_is_committed(self, *, partitions: int) -> None:
        for partition in range(partitions):
            committed = self.committed(partition=partition)  # first: what is handled may only grow meanwhile
            assert set(range(committed)) <= set(self.offsets(partition=partition))

    def wait_until_committed(self, offset: int, *, topic: str = "in", partition: int = 0) -> None:
        eventually(
            lambda: self.committed(topic=topic, partition=partition) == offset,
            WAIT_S,
            what=f"the group has committed {offset}",
        )


def numbers(count: int) -> list[str]:
    """Values to publish: "0", "1" and so on."""
    return [str(number) for number in range(count)]


def first_of_each(offsets: Iterable[int]) -> list[int]:
    """What is left of redelivered offsets when the first of each counts."""
    return list(dict.fromkeys(offsets))


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with these settings and no others of trieflow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}
    named = {f"TRIEFLOW_{name.upper()}": value for name, value in settings.items()}
    return kept | named | {"OMP_NUM_THREADS": "1"}
