"""The examples know nothing of our code; here they meet the real system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trieflow.running import RunningSystem, running_system

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    data = tmp_path_factory.mktemp("system")
    command = [
        sys.executable,
        "-m",
        "trieflow",
        "--data",
        str(data),
        "--encoder",
        "hash",
        "--partitions",
        "2",
    ]
    subprocess.run([*command, "up", "--detach"], env=ENVIRONMENT, check=True)
    running = running_system(data)
    assert running is not None
    yield running
    subprocess.run([*command, "down"], env=ENVIRONMENT, check=True)


def example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=True)
    return done.stdout


def test_examples_import_nothing_of_ours():
    for path in (ROOT / "examples").glob("*.py"):
        imported = {
            line.split()[1].split(".")[0] for line in path.read_text().splitlines() if _is_import(line)
        }
        assert not imported & {"trieflow", "streams", "state", "models", "agents"}, path.name


def _is_import(line: str) -> bool:
    return line.startswith(("import ", "from "))


def test_what_one_example_publishes_another_finds_and_a_third_sees_the_receipt(system):
    example("publish.py", system.brokers, "boot-1", "Red leather boots")
    example("publish.py", system.brokers, "hat-1", "A straw hat")
    receipts = _first_lines("receipts.py", system.brokers, count=2)
    assert {line.split()[0]: line.split()[1] for line in receipts} == {
        "boot-1": "indexed",
        "hat-1": "indexed",
    }
    first = example("search.py", system.brokers, "red leather boots").splitlines()[0].split()
    assert first[:2] == ["1", "boot-1"]


def _first_lines(name: str, *arguments: str, count: int) -> list[str]:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(count)]
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    return lines
