"""The lexical index is killed while it writes and commits; opened again, with the log, it is what the log says."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from state.lexical import LexicalIndex
from tests.recovery.lexical_writer import LENGTH, WORDS, documents_at, opened, read_log

pytestmark = pytest.mark.recovery


def test_after_many_kills_the_index_and_the_rest_of_the_log_are_the_whole_log(tmp_path: Path) -> None:
    chosen = random.Random(0)
    positions = [0]
    for _ in range(8):
        ahead = chosen.randrange(200)
        _killed_after(chosen.uniform(0.02, 0.6), tmp_path / "lexical", shard_ahead=ahead)
        index = opened(tmp_path / "lexical", shard_ahead=ahead)
        positions.append(index.positions.get(0, 0))
        # No further than the shard, so that the next process has work left.
        until = min(LENGTH, positions[-1] + ahead)
        read_log(index, until=until)
        _agrees(index, until)
        index.close()
    assert positions == sorted(positions), "a commit was lost"
    assert positions[-1] > 0, "nothing was ever committed"


def _killed_after(seconds: float, folder: Path, *, shard_ahead: int) -> None:
    command = [sys.executable, "-m", "tests.recovery.lexical_writer", str(folder), str(shard_ahead)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(seconds)
        process.kill()


def _agrees(index: LexicalIndex, until: int) -> None:
    assert index.flush(timeout_s=60)
    documents = documents_at(until)
    for word in WORDS:
        slots, _ = index.search(word, 1_000, language="pl")
        expected = {slot for slot, document in documents.items() if word in (document.title or "").split()}
        assert set(slots.tolist()) == expected
