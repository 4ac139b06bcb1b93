"""`up` in the background, and `down`, which ends it from anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from streams.errors import TrieflowError
from streams.settings import Settings
from trieflow.running import RunningSystem, held, is_held, running_system

_POLL_S = 0.1
_STOP_TIMEOUT_S = 90.0


class NotStartedError(TrieflowError):
    """The system did not start in the background. The message ends with what it said."""


def start_detached(
    settings: Settings,
    arguments: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> RunningSystem:
    """Run `trieflow <arguments>` in a session of its own and return when every worker is ready.

    `environment`: variables beside ours.

    Raises NotStartedError when it ends or is not ready within `timeout` seconds (then it is stopped),
    AlreadyRunningError.
    """
    data = settings.data.absolute()
    with held(data):
        pass  # nobody else is there; a race is settled by the child, which holds the folder for good
    log = data / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as words:
        child = subprocess.Popen(
            [sys.executable, "-m", "trieflow", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        return _until_ready(child, data, log, timeout=timeout)
    except BaseException:  # Ctrl-C does not reach a session of its own
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_TIMEOUT_S)
        raise


def _until_ready(child: subprocess.Popen[bytes], data: Path, log: Path, *, timeout: float) -> RunningSystem:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise NotStartedError(f"the system did not start:\n{_tail(log)}")
        system = running_system(data)
        if system is not None and system.ready:
            return system
        time.sleep(_POLL_S)
    raise NotStartedError(f"not ready within {timeout:g} s, see {data / 'logs'}:\n{_tail(log)}")


def stop_system(data: Path, *, timeout: float = _STOP_TIMEOUT_S) -> int | None:
    """Stop what runs in the folder, in order; return its process id, None when nothing ran.

    Raises NotStoppedError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    system = running_system(data)
    while system is None and is_held(data) and time.monotonic() < deadline:  # it is just starting
        time.sleep(_POLL_S)
        system = running_system(data)
    if system is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(system.pid, signal.SIGTERM)
    while is_held(data):
        if time.monotonic() > deadline:
            raise NotStoppedError(
                f"process {system.pid} does not stop; `kill -9 {system.pid}` ends it and loses nothing"
            )
        time.sleep(_POLL_S)
    return system.pid


class NotStoppedError(TrieflowError):
    """The system does not stop. It may be killed: nothing is lost."""


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
