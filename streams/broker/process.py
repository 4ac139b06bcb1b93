"""The broker as an operating-system process: who may run in a data folder, whose child it is, how it ends.

The folder's lock (`broker.lock`, flock) is held by the Java process itself, through a descriptor that it
inherits. So the lock lives exactly as long as the broker, also when the process that started it is gone, and
no stale pid file can lie. `broker.pid` only tells whom to signal.

The broker runs in its own session: a Ctrl-C in the terminal reaches its owner, who stops it last, and never
the broker directly. A *tied* broker dies with its owner. The kernel's parent-death signal would do on Linux
alone, and it fires when the starting *thread* ends; here a small shell waits on a pipe instead, whose other
end only the owner holds. The pipe closes however the owner ends, and the shell kills the broker. The broker's
number cannot belong to a stranger by then, because the shell stays in the process group of that number.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from streams.errors import BrokerError

LOCK_NAME = "broker.lock"
PID_NAME = "broker.pid"
LOG_NAME = "broker.log"
_LOCK_PATIENCE_SECONDS = 1.0
_TICK_SECONDS = 0.05

# Arguments: pid file, "tied" or "free", the command. Standard input is the owner's pipe, standard output the
# locked file (kept as descriptor 4), standard error the log. `exec` makes the command take this very pid.
_LAUNCH = """
exec 3<&0 4>&1 1>&2 </dev/null
echo $$ >"$1" || exit 74
if [ "$2" = tied ]; then
  ( exec 4>&- >/dev/null 2>&1; read -r _ <&3; kill -9 $$ ) &
fi
shift 2
exec 3<&-
exec "$@"
"""


@contextmanager
def taken_folder(data: Path) -> Iterator[IO[bytes]]:
    """Lock the data folder; a process launched meanwhile keeps the lock. BrokerError when it is taken."""
    with open(data / LOCK_NAME, "ab") as lock:
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS  # somebody may just be looking, see `_is_locked`
        while not _try_lock(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"a broker runs in {data} already (process {_read_pid(data) or 'not known yet'}): "
                    "stop it with `trieflow down`, or use another data folder"
                )
            time.sleep(_TICK_SECONDS)
        (data / PID_NAME).unlink(missing_ok=True)  # of the last run: nobody may signal that number now
        yield lock


def launch(command: Sequence[str], *, data: Path, lock: IO[bytes], tied: bool) -> subprocess.Popen[bytes]:
    """Start `command` in the folder, with its output in the log; it keeps `lock` for as long as it lives."""
    with open(data / LOG_NAME, "wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCH, "sh", PID_NAME, "tied" if tied else "free", *command],
            cwd=data,
            env=java_environment(),
            stdin=subprocess.PIPE,
            stdout=lock,
            stderr=log,
            start_new_session=True,
        )


def java_environment() -> dict[str, str]:
    """Return our environment with a UTF-8 locale: under `C` Java cannot open a path with other letters."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def running_broker(data: Path) -> int | None:
    """Return the pid of the broker that runs in `data`, whoever started it; None also in its first instant."""
    return _read_pid(data) if _is_locked(data) else None


def stop_broker(data: Path, timeout: float = 30.0) -> bool:
    """Stop the broker that runs in `data`, whoever started it; return whether there was one.

    SIGTERM first, so that it closes its log; SIGKILL after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    asked: int | None = None
    while _is_locked(data):
        pid, late = _read_pid(data), time.monotonic() > deadline
        if pid is not None and (asked is None or late):  # no pid yet: a start that has not come so far
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked = pid
        time.sleep(_TICK_SECONDS)
    return asked is not None


def last_lines(data: Path, count: int = 12) -> str:
    """Return the last lines of the broker's log, for an error message."""
    try:
        lines = (data / LOG_NAME).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(its log cannot be read: {error})"
    return "\n".join(lines[-count:]) or "(its log is empty)"


def _is_locked(data: Path) -> bool:
    try:
        with open(data / LOCK_NAME, "rb") as lock:
            return not _try_lock(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _try_lock(handle: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(data: Path) -> int | None:
    try:
        return int((data / PID_NAME).read_text())
    except (FileNotFoundError, ValueError):
        return None
