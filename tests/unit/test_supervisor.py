"""Workers are started again with growing waits, and stopped in order. Real processes of a few lines."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from streams.settings import Settings
from trieflow.supervisor import WorkerName, WorkerProcess, worker_command


@pytest.fixture
def worker(tmp_path):
    made = []

    def make(code: str) -> WorkerProcess:
        each = WorkerProcess(
            WorkerName("indexer", "0"),
            command=[sys.executable, "-c", code],
            log=tmp_path / "logs" / "indexer-0.log",
            note=notes.append,
        )
        made.append(each)
        return each

    notes: list[str] = []
    make.notes = notes
    yield make
    for each in made:
        each.wait(0)


def tick_until(worker: WorkerProcess, holds, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        worker.tick()
        time.sleep(0.01)


def test_a_dead_worker_is_started_again_after_a_wait(worker):
    process = worker("import time; print('hello', flush=True); time.sleep(60)")
    process.tick()
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    tick_until(process, lambda: process.pid not in (first, None))
    assert "SIGKILL" in worker.notes[0]
    assert "again in 0.5 s" in worker.notes[0]


def test_a_worker_that_ends_at_once_is_noted_ever_more_seldom(worker, monkeypatch):
    monkeypatch.setattr("trieflow.supervisor.FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr("trieflow.supervisor.LAST_BACKOFF_S", 0.004)
    process = worker("raise SystemExit(3)")
    tick_until(process, lambda: len(worker.notes) == 3)
    assert ["exit code 3" in note for note in worker.notes] == [True] * 3
    assert "(4 times in a row)" in worker.notes[2]
    assert "again in 0.004 s" in worker.notes[2]


def test_what_a_worker_says_goes_to_its_log(worker):
    process = worker("import sys; print('out'); print('err', file=sys.stderr)")
    tick_until(process, lambda: bool(worker.notes))
    assert sorted(process.log.read_text().split()) == ["err", "out"]


def test_a_worker_that_ignores_the_stop_is_killed_at_the_deadline(worker):
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"import signal, time; {ignore}; print('on', flush=True); time.sleep(60)"
    process = worker(code)
    process.tick()
    tick_until(process, lambda: process.log.read_text() == "on\n")
    process.terminate()
    assert process.wait(time.monotonic() + 0.2) is False
    assert process.pid is None


def test_the_name_of_a_worker_and_a_free_health_port_reach_it_by_the_environment(worker):
    process = worker("import os; print(os.environ['TRIEFLOW_WORKER'], os.environ['TRIEFLOW_HEALTH__PORT'])")
    tick_until(process, lambda: bool(worker.notes))
    assert process.log.read_text() == "0 0\n"


def test_a_worker_is_run_without_crash_points_and_with_our_settings(tmp_path):
    settings = Settings(brokers="kafka:9092", prefix="shop.", partitions=3, data=tmp_path, encoder="hash")
    command = worker_command(settings, "searcher")
    assert command[1:4] == ["-O", "-m", "trieflow"]
    assert command[-3:] == ["worker", "searcher", "--tied"]
    assert command[command.index("--prefix") + 1] == "shop."
    assert command[command.index("--data") + 1] == str(tmp_path)
