"""Worker processes that a test starts, pauses, resumes and kills."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from agents import crash_points
from agents.health import WorkerFile
from streams.settings import load_settings
from tests.recovery.waiting import POLL_S, eventually

START_S = 90.0
_BACKOFF_S = 0.5

# A server that has imported everything forks the workers: importing takes longer than all else that a start does.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["agents.indexer", "agents.searcher", "agents.curator", "agents.learner", "agents.trainer"]
)


class WorkerProcess:
    """One worker in a process of its own, with these settings and no others; its log goes to a file.

    It does not outlive the process that started it.
    """

    def __init__(self, role: str, worker: str, settings: Mapping[str, str], *, data: Path) -> None:
        self.role, self.worker = role, worker
        self._file = data / "run" / f"{role}-{worker}.json"
        self.log_path = data / f"{role}-{worker}.log"
        self.log_path.touch()
        self._process = _processes.Process(target=_run, args=(role, dict(settings), self.log_path))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs, minus the signal when one ended it."""
        return self._process.exitcode

    def wait_ready(self, timeout: float = START_S) -> WorkerProcess:
        """Wait until `/ready` says so; fails at once when the process ends."""
        eventually(self._is_ready, timeout, what=f"{self} is ready")
        return self

    def wait_exit(self, timeout: float = START_S) -> int:
        """Wait for the end; returns the exit status."""
        self._process.join(timeout)
        status = self.exit_status
        assert status is not None, f"{self} still runs after {timeout:.0f} s"
        return status

    def kill(self) -> None:
        """SIGKILL, as the end of a machine would be."""
        self._process.kill()
        self._process.join()

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM and wait: a clean stop. Returns the exit status."""
        self._process.terminate()
        return self.wait_exit(timeout)

    def pause(self) -> None:
        """SIGSTOP: to everybody else it looks dead, and it does not know."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """What it wrote, after that of earlier processes of the same name."""
        return self.log_path.read_text(errors="replace")

    def held(self) -> set[int]:
        """The partitions that it said to hold at last. Give each process a worker name of its own."""
        lines = [orjson.loads(line) for line in self.log().splitlines() if '"event": "partitions"' in line]
        return set(lines[-1]["held"]) if lines else set()

    def __str__(self) -> str:
        return f"{self.role}-{self.worker} (process {self.pid})"

    def _is_ready(self) -> bool:
        if self.exit_status is not None:
            raise AssertionError(f"{self} ended with {self.exit_status}:\n{self.log()[-3000:]}")
        try:
            file = WorkerFile.model_validate_json(self._file.read_bytes())
            if file.pid != self.pid:
                return False
            with urllib.request.urlopen(f"{file.url}/ready", timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False


def _run(role: str, settings: Mapping[str, str], log: Path) -> None:
    """The life of a worker, in its process."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("TRIEFLOW_")]:
        del os.environ[name]
    os.environ.update({f"TRIEFLOW_{name.upper()}": value for name, value in settings.items()})
    os.environ["TRIEFLOW_CONFIG"] = os.devnull
    importlib.reload(crash_points)  # it reads the environment once, and the server has imported it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    importlib.import_module(f"agents.{role}").run(load_settings())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


class Supervisor:
    """Starts a worker again whenever it ends, as an orchestrator does. A context manager."""

    def __init__(self, start: Callable[[], WorkerProcess]) -> None:
        self._start = start
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.process = start()
        self.restarts = 0

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            if self.process.exit_status is not None:
                time.sleep(_BACKOFF_S)
                self.process = self._start()
                self.restarts += 1
