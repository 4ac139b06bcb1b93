"""The broker as an operating-system process: who may run in a data folder, whose child it is, how it ends.

The folder's lock (`broker.lock`, flock) is held by the Java process itself, through a file descriptor that it
inherits. So the lock lives exactly as long as the broker, also when the process that started it is gone, and no
stale pid file can lie. `broker.pid` only tells whom to signal.

The broker runs in its own session: a Ctrl-C in the terminal reaches its owner, who stops it last, and never the
broker directly. A *tied* broker dies with its owner. The kernel's parent-death signal would do on Linux alone,
and it fires when the starting *thread* ends; here a small shell waits on a pipe instead whose other end only the
owner holds. The pipe closes however the owner ends, and the shell kills the broker. Its number cannot have been
given to a stranger, because the shell stays in the process group of that number.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from streams.errors import BrokerError

LOCK_NAME = "broker.lock"
PID_NAME = "broker.pid"
LOG_NAME = "broker.log"
_LOCK_PATIENCE_SECONDS = 1.0

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


def take_folder(data: Path) -> IO[bytes]:
    """Lock the data folder. Raises BrokerError when a broker runs in it."""
    handle = open(data / LOCK_NAME, "ab")
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS  # somebody may be looking, see `running_broker`
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            handle.close()
            raise BrokerError(_in_use(data)) from None
        return handle


def _in_use(data: Path) -> str:
    pid = _read_pid(data)
    who = f"process {pid}" if pid else "another process"
    return (
        f"a broker runs in {data} already ({who}); stop it with `trieflow down`, or use another data folder"
    )


def launch(command: Sequence[str], *, data: Path, lock: IO[bytes], tied: bool) -> subprocess.Popen[bytes]:
    """Start `command` with its output in the folder's log; it keeps `lock` for as long as it lives."""
    with open(data / LOG_NAME, "wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCH, "sh", str(data / PID_NAME), "tied" if tied else "free", *command],
            cwd=data,
            stdin=subprocess.PIPE,
            stdout=lock,
            stderr=log,
            start_new_session=True,
        )


def last_lines(data: Path, count: int = 12) -> str:
    """Return the last lines of the broker's log, for an error message."""
    try:
        lines = (data / LOG_NAME).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(its log cannot be read: {error})"
    return "\n".join(lines[-count:]) or "(its log is empty)"


def running_broker(data: Path) -> int | None:
    """Return the pid of the broker that runs in `data`, or None. Whoever started it does not matter."""
    try:
        with open(data / LOCK_NAME, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(data)
    except FileNotFoundError:
        return None
    return None


def _read_pid(data: Path) -> int | None:
    try:
        return int((data / PID_NAME).read_text())
    except (FileNotFoundError, ValueError):  # a start that has not come so far yet
        return None


def stop_broker(data: Path, timeout: float = 30.0) -> bool:
    """Stop the broker that runs in `data`, whoever started it; return whether there was one.

    SIGTERM first, so that it closes its log; SIGKILL after `timeout` seconds.
    """
    pid = running_broker(data)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while running_broker(data) == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return True
