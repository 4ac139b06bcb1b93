"""The process rules with a small real command in the broker's place; the broker itself: tests/integration."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streams.broker.process import launch, running_broker, stop_broker, taken_folder
from streams.errors import BrokerError

# A process that starts the command, says its number, and waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
from streams.broker.process import launch, taken_folder
data = Path(sys.argv[1])
with taken_folder(data) as lock:
    child = launch(["sleep", "600"], data=data, lock=lock, tied=sys.argv[2] == "tied")
print(child.pid, flush=True)
time.sleep(600)
"""


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def orphan(data: Path, kind: str) -> int:
    """Start a command from an owner that is then killed; return the command's pid."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data), kind], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert within(10, lambda: running_broker(data) == pid)
        owner.kill()
    return pid


def test_a_tied_process_dies_with_its_owner_even_when_that_is_killed(tmp_path):
    pid = orphan(tmp_path, "tied")
    assert within(10, lambda: running_broker(tmp_path) is None)
    assert within(10, lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_free_process_outlives_its_owner_and_holds_the_folder_until_it_is_stopped(tmp_path):
    pid = orphan(tmp_path, "free")
    assert running_broker(tmp_path) == pid
    with pytest.raises(BrokerError, match=rf"runs in .* already \(process {pid}\).*trieflow down"):
        with taken_folder(tmp_path):
            pass
    assert stop_broker(tmp_path)
    assert running_broker(tmp_path) is None


def test_the_lock_goes_with_the_process_that_was_launched(tmp_path):
    with taken_folder(tmp_path) as lock:
        child = launch(["sleep", "600"], data=tmp_path, lock=lock, tied=True)
    with child:
        assert within(10, lambda: running_broker(tmp_path) == child.pid)
        child.kill()
    # Its guard is a copy of the shell that began: it may not have let go of the lock yet.
    assert within(10, lambda: running_broker(tmp_path) is None)
    with taken_folder(tmp_path):
        pass


def test_a_process_that_ignores_the_request_to_stop_is_killed(tmp_path):
    script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    with taken_folder(tmp_path) as lock:
        child = launch(["/bin/sh", "-c", script], data=tmp_path, lock=lock, tied=True)
    with child:
        assert within(10, lambda: (tmp_path / "broker.log").read_text() == "deaf\n")
        assert stop_broker(tmp_path, timeout=0.3)
    assert child.returncode == -9


def test_nothing_runs_in_a_folder_that_does_not_exist(tmp_path):
    assert running_broker(tmp_path / "no") is None
    assert not stop_broker(tmp_path / "no")


def test_a_left_over_pid_file_is_nobody(tmp_path):
    (tmp_path / "broker.lock").touch()
    (tmp_path / "broker.pid").write_text("1")
    assert running_broker(tmp_path) is None
    assert not stop_broker(tmp_path)


def test_a_folder_taken_but_not_launched_names_no_stale_pid(tmp_path):
    (tmp_path / "broker.pid").write_text("1")
    with taken_folder(tmp_path):
        assert running_broker(tmp_path) is None
        with pytest.raises(BrokerError, match="not known yet"):
            with taken_folder(tmp_path):
                pass
