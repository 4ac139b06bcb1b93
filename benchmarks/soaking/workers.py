"""Kafka and the workers of a soak: real processes that are killed by SIGKILL, and started again when they die."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from streams.broker import EmbeddedBroker
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from trieflow.status import WorkerLine, workers
from trieflow.supervisor import Supervisor, WorkerName

NAMES = [
    WorkerName("indexer", "0"),
    WorkerName("indexer", "1"),
    WorkerName("searcher", "0"),
    WorkerName("searcher", "1"),
    WorkerName("curator", "0"),
]
_TICK_S = 0.2
_LOOK_S = 1.0


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These settings, for this process and the workers it starts, and no others."""
    before = {name: value for name, value in os.environ.items() if name.startswith("TRIEFLOW_")}
    for name in before:
        del os.environ[name]
    given = {f"TRIEFLOW_{name.upper()}": value for name, value in values.items()}
    os.environ.update({"TRIEFLOW_CONFIG": os.devnull} | given)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("TRIEFLOW_")]:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def kafka(data: Path, values: Mapping[str, str]) -> Iterator[Settings]:
    """An embedded Kafka with all topics; gives the settings of the system on it. values: as in the environment."""
    with environment(values), EmbeddedBroker(data / "broker", ephemeral=True) as broker:
        settings = load_settings(data=data, brokers=broker.bootstrap)
        create_topics(settings)
        yield settings


@dataclass
class Kill:
    """Who was killed, when (seconds since the start), and how long it took until its successor was ready."""

    worker: WorkerName
    at_s: float
    back_after_s: float | None = None


class Workers:
    """One thread keeps the workers alive, and kills them in turns, each once before any twice.

    Nobody is killed before the one killed last is ready again: one of two searchers lives at any time.
    """

    def __init__(
        self,
        settings: Settings,
        names: Sequence[WorkerName] = NAMES,
        *,
        note: Callable[[str], None],
        seed: int = 0,
    ) -> None:
        self.kills: list[Kill] = []
        self.killed_at_the_end: list[WorkerName] = []
        self._settings = settings
        self._names = list(names)
        self._supervisor = Supervisor(settings, names, note)
        self._random = random.Random(seed)
        self._next: list[WorkerName] = []
        self._every_s: float | None = None
        self._due = 0.0
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def kill_every(self, seconds: float | None) -> None:
        """Kill a worker about that often from now on; None: no more."""
        self._every_s = seconds
        self._due = time.monotonic() + (seconds or 0.0) / 2

    def each_role_was_killed(self) -> bool:
        """Whether one of each role was, and is back."""
        return {kill.worker.role for kill in self.kills} == {
            name.role for name in self._names
        } and not self._missing()

    def stop(self) -> None:
        """Stop all in order; `killed_at_the_end` names those that did not stop by themselves."""
        self._stopping.set()
        self._thread.join()
        self.killed_at_the_end = self._supervisor.stop()

    def wait_ready(self, timeout_s: float = 600.0) -> None:
        """Wait until all are ready. Raises SystemExit when they never are."""
        deadline = time.monotonic() + timeout_s
        while not all(name in self.ready() for name in self._names):
            if time.monotonic() > deadline:
                logs = self._settings.data / "logs"
                raise SystemExit(f"the workers are not ready within {timeout_s:.0f} s; see {logs}")
            time.sleep(_TICK_S)

    def ready(self) -> dict[WorkerName, WorkerLine]:
        """Those that run and are ready, as their health servers tell it."""
        pids = {worker.name: worker.pid for worker in self._supervisor.workers}
        lines = {WorkerName(line.role, line.worker): line for line in workers(self._settings.data)}
        return {
            name: line
            for name, line in lines.items()
            if line.state == "ready" and name in pids and line.pid == pids[name]
        }

    def details(self, role: str, worker: str = "0") -> Mapping[str, Any]:
        """What a worker tells of itself; nothing while it is not ready."""
        line = self.ready().get(WorkerName(role, worker))
        return {} if line is None else line.details

    def log_lines(self, name: WorkerName) -> list[dict[str, Any]]:
        """What a worker wrote, over all its lives, as far as it is JSON."""
        path = self._settings.data / "logs" / f"{name}.log"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def held(self, name: WorkerName) -> list[int]:
        """The partitions that a worker said to hold at last."""
        said = [line["held"] for line in self.log_lines(name) if line.get("event") == "partitions"]
        return list(said[-1]) if said else []

    def _run(self) -> None:
        looked = 0.0
        while not self._stopping.wait(_TICK_S):
            self._supervisor.tick()
            if self._every_s is not None and time.monotonic() >= self._due and not self._missing():
                self._kill_next(self._every_s)
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                self._note_who_is_back()

    def _kill_next(self, every_s: float) -> None:
        self._due = time.monotonic() + self._random.uniform(0.6, 1.4) * every_s
        if not self._next:
            self._next = self._turns()
        name = self._next.pop()
        pid = next(worker.pid for worker in self._supervisor.workers if worker.name == name)
        if pid is None:
            self._next.insert(0, name)  # it is dead already: its turn comes
            return
        os.kill(pid, signal.SIGKILL)
        self.kills.append(Kill(name, time.monotonic() - self._started))

    def _missing(self) -> list[Kill]:
        return [kill for kill in self.kills if kill.back_after_s is None]

    def _turns(self) -> list[WorkerName]:
        """All workers, the next one last: at random, but one of each role before a second one of any."""
        names = self._random.sample(self._names, len(self._names))
        last_of_role = {name.role: place for place, name in enumerate(names)}
        return sorted(names, key=lambda name: last_of_role[name.role] == names.index(name))

    def _note_who_is_back(self) -> None:
        missing = self._missing()
        ready = self.ready() if missing else {}
        for kill in missing:
            if kill.worker in ready:
                kill.back_after_s = time.monotonic() - self._started - kill.at_s
