"""`trieflow demo`, small and real: its own Kafka, its own workers, the `hash` encoder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from trieflow.running import is_held, running_system

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PICTURES = 160


def command(data: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "trieflow", "--data", str(data), "--encoder", "hash", *words]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}


def demo(data: Path, *words: str) -> dict:
    """Run the demo and return what it printed as JSON."""
    done = subprocess.run(
        command(data, "demo", "--pictures", str(PICTURES), "--json", *words),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_demo_goes_through_and_a_second_run_finds_everything_unchanged(tmp_path):
    data, png = tmp_path / "data", tmp_path / "demo.png"
    first = demo(data, "--keep", "--picture", str(png))
    try:
        assert first["documents"] == PICTURES
        assert first["publish"]["receipts"] == {"indexed": 144}
        assert first["event_to_answer_ms"]["count"] == 16
        assert len(first["answers"]) == 17
        assert all(len(answer["hits"]) == 10 for answer in first["answers"])
        assert all(answer["took_ms"]["total"] > 0 for answer in first["answers"])
        # Whatever the encoder knows: the drawing itself is found, and gone after it was deleted.
        assert (first["deleted"]["rank_before"], first["deleted"]["rank_after"]) == (1, None)
        assert first["updated"]["status"] == "updated"
        assert first["lesson"]["clicks"] == 3
        assert (first["lesson"]["rank_before"], first["lesson"]["rank_after"]) == (None, 1)

        check_nonsense(first["nonsense"])

        page = (data / "demo.html").read_text(encoding="utf-8")
        assert page.count("<section>") == 17
        assert page.count("data:image/webp") >= 170
        with Image.open(png) as drawn:
            assert drawn.width > 1_000

        assert is_held(data), "--keep leaves the system running"
        second = demo(data)
        assert second["publish"]["receipts"] == {"unchanged": 142, "updated": 1, "indexed": 1}
        assert second["event_to_answer_ms"]["count"] == 16
        assert (second["deleted"]["rank_before"], second["deleted"]["rank_after"]) == (1, None)
        assert second["nonsense"] is None, "nobody clicks at random in a system that may be somebody's"
        assert is_held(data), "what the demo has not started, it does not stop"
    finally:
        subprocess.run(command(data, "down"), env=environment(), check=True, timeout=120)
    assert not is_held(data)


def check_nonsense(found: dict) -> None:
    """Random clicks became an adapter that the gates refused, and nothing of it is left."""
    assert found["clicks"] == 1_800
    assert (found["stage"], found["verdict"]) == ("done", "refused")
    assert found["message"].startswith("Refused by ")
    assert found["message"].count(". ") >= 1, "it says why"
    assert found["figures"]["guard.queries"] >= 1_500
    assert found["figures"]["clicks.clicks"] > 0
    report = Path(found["report"].removeprefix("file://")).read_text(encoding="utf-8")
    assert "Refused by " in report
    assert found["forgotten"] > 0
    assert found["adapters"] == []
    assert found["same_hits"] == found["asked_again"] == 17


def test_an_interrupted_demo_stops_what_it_started(tmp_path):
    data = tmp_path / "data"
    running = subprocess.Popen(
        command(data, "demo"), env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while (system := running_system(data)) is None or not system.ready:
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait(120) != 0
        assert not is_held(data)
    finally:
        running.kill()
        running.wait()
        subprocess.run(command(data, "down"), env=environment(), check=True, timeout=120)
