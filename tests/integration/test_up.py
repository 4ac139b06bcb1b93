"""`trieflow up` and `down` as a person types them: real processes, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from streams.broker import running_broker
from trieflow.detached import stop_system
from trieflow.running import is_held, running_system

pytestmark = pytest.mark.integration

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(data: Path, *words: str) -> list[str]:
    flags = ["--data", str(data), "--encoder", "hash", "--partitions", "2"]
    return [sys.executable, "-m", "trieflow", *flags, *words]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    yield folder
    stop_system(folder)


@pytest.fixture
def run(data: Path) -> Run:
    def type_in(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(data, *words),
            input=stdin,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return type_in


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.1)


def pids(run: Run) -> dict[str, int]:
    found = orjson.loads(run("status", "--json").stdout)
    return {worker["role"]: worker["pid"] for worker in found["workers"] if worker["state"] == "ready"}


def publish(run: Run, document_id: str, title: str) -> None:
    line = orjson.dumps({"id": document_id, "title": title}).decode()
    done = run("publish", "-", "--json", stdin=line)
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["counts"] == {"indexed": 1}


def found(run: Run, text: str) -> list[str]:
    done = run("search", text, "--json", "--timeout", "20")
    assert done.returncode == 0, done.stderr
    return [hit["document_id"] for hit in orjson.loads(done.stdout)["hits"]]


def test_everything_starts_survives_a_dead_worker_and_a_dead_broker_and_stops_in_order(run, data):
    up = run("up", "--detach")
    assert up.returncode == 0, up.stderr
    assert "Ready. embedded Kafka" in up.stdout
    second = run("up")
    assert second.returncode == 1
    assert "trieflow down" in second.stderr
    publish(run, "boot-1", "Red leather boots")
    assert found(run, "red boots") == ["boot-1"]

    killed = pids(run)["searcher"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: pids(run).get("searcher", killed) != killed)
    assert found(run, "red boots") == ["boot-1"]

    os.kill(running_broker(data / "broker"), signal.SIGKILL)
    until(lambda: "boot-1" in run("search", "red boots", "--json").stdout, seconds=120)

    workers = [psutil.Process(pid) for pid in pids(run).values()]
    broker = psutil.Process(running_broker(data / "broker"))
    down = run("down")
    assert down.returncode == 0
    assert "stopped" in down.stdout
    assert not any(process.is_running() for process in [*workers, broker])
    assert not is_held(data)
    assert "nothing runs" in run("down").stdout


def test_killing_up_ends_all_its_processes_and_loses_nothing(run, data):
    assert run("up", "--detach").returncode == 0
    publish(run, "boot-1", "Red leather boots")
    children = [psutil.Process(pid) for pid in [*pids(run).values(), running_broker(data / "broker")]]
    os.kill(running_system(data).pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    status = run("status")
    assert status.returncode == 1
    assert "trieflow up" in status.stderr

    assert run("up", "--detach").returncode == 0
    assert found(run, "red boots") == ["boot-1"]


def test_a_broker_that_is_named_is_used_and_left_running(broker, tmp_path):
    data = tmp_path / "data"
    prefix = "upnamed."
    words = ["--brokers", broker.bootstrap, "--prefix", prefix, "up"]
    with subprocess.Popen(
        command(data, *words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        try:
            until(lambda: (system := running_system(data)) is not None and system.ready)
            assert not (data / "broker").exists()
        finally:
            up.send_signal(signal.SIGINT)  # as Ctrl-C
        said = up.communicate(timeout=60)[0]
    assert up.returncode == 0, said
    assert f"Kafka at {broker.bootstrap}" in said
    assert broker.pid is not None
