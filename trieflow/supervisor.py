"""Worker processes: started, watched, started again when they die, stopped in order.

A worker is tied to its supervisor by a pipe on its standard input: when the supervisor ends, however it ends, the
pipe closes and the worker ends at once (`trieflow worker --tied`). That is a crash, and a crash loses nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.settings import Settings

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 30.0
"""The wait before a dead worker is started again; it doubles from the first to the last."""

_STEADY_S = 60.0  # a worker that lived so long starts with a short wait again
_KILL_MARGIN_S = 5.0  # beyond the grace that the worker itself keeps
_LOG_LIMIT = 20 * 1024 * 1024


@dataclass(frozen=True)
class WorkerName:
    """A role and the name of one worker in it."""

    role: str
    worker: str

    def __str__(self) -> str:
        return f"{self.role}-{self.worker}"


class WorkerProcess:
    """One worker: a child process that is started again, with growing waits, as long as it is wanted."""

    def __init__(
        self, name: WorkerName, *, command: Sequence[str], log: Path, note: Callable[[str], None]
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._note = note
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._next_start = 0.0
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        """The process that runs, None between a death and the next start."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process is not None else None

    def tick(self) -> None:
        """Start the worker when it is due; notice its death. Never waits."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._bury(now)
        if self._process is None and now >= self._next_start:
            self._start(now)

    def terminate(self) -> None:
        """Ask it to stop in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> bool:
        """Wait until it has ended; kill it at `deadline` (monotonic). Returns whether it ended by itself."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        finally:
            self._let_go()
        return True

    def _let_go(self) -> None:
        """Close the pipe to a process that has ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _start(self, now: float) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            os.replace(self.log, self.log.with_suffix(".log.1"))
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops all in order.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "TRIEFLOW_WORKER": self.name.worker, "TRIEFLOW_HEALTH__PORT": "0"},
            )
        self._started_at = now

    def _bury(self, now: float) -> None:
        assert self._process is not None
        code = self._process.returncode
        self._let_go()
        self._deaths = 1 if now - self._started_at > _STEADY_S else self._deaths + 1
        wait = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (self._deaths - 1))
        self._next_start = now + wait
        if self._deaths & (self._deaths - 1) == 0:  # the 1st, 2nd, 4th, 8th … time: a loop does not flood
            times = "" if self._deaths == 1 else f" ({self._deaths} times in a row)"
            self._note(f"{self.name} {_ending(code)}{times}; again in {wait:g} s. Its log: {self.log}")


class Supervisor:
    """All workers of one `trieflow up`. Not thread-safe: one loop calls it."""

    def __init__(self, settings: Settings, names: Sequence[WorkerName], note: Callable[[str], None]) -> None:
        self._grace_s = settings.grace_s
        self.workers = [
            WorkerProcess(
                name,
                command=worker_command(settings, name.role),
                log=settings.data / "logs" / f"{name}.log",
                note=note,
            )
            for name in names
        ]

    def tick(self) -> None:
        """Start what is due. Call it often."""
        for worker in self.workers:
            worker.tick()

    def stop(self) -> list[WorkerName]:
        """Stop all in order within the grace period; returns those that had to be killed."""
        for worker in self.workers:
            worker.terminate()
        deadline = time.monotonic() + self._grace_s + _KILL_MARGIN_S
        return [worker.name for worker in self.workers if not worker.wait(deadline)]


def worker_command(settings: Settings, role: str) -> list[str]:
    """The command line of a worker: these settings by flags, all others as they reached us.

    `-O` compiles the crash points out.
    """
    flags = {
        "--brokers": settings.brokers or "",
        "--prefix": settings.prefix,
        "--partitions": str(settings.partitions),
        "--data": str(settings.data.absolute()),
        "--encoder": settings.encoder,
    }
    given = [word for flag in flags.items() for word in flag]
    return [sys.executable, "-O", "-m", "trieflow", *given, "worker", role, "--tied"]


def end_with_parent() -> None:
    """Tie this process to whoever holds the other end of its standard input."""

    def watch() -> None:
        while os.read(0, 1_024):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="tied", daemon=True).start()


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
