"""`trieflow bench path`: documents and queries through the whole path on an embedded Kafka.

Everything runs in one run on one machine: the raw clients as the floor, then ready vectors, texts and pictures
into the system, single events until searchable, queries one at a time and at 20 a second, restarts. Ready vectors
are random (speed does not depend on their direction; no recall is claimed here).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition

from benchmarks.path_inputs import pictures, texts, with_vector
from benchmarks.sustained import sustain
from benchmarks.watcher import Watcher
from streams.clients import producer, reader
from streams.settings import Settings
from trieflow.client import Client
from trieflow.running import running_system

DOCUMENTS = 10_000
PICTURES = 400
SINGLES = 300
QUERIES = 200
RESULTS = Path(__file__).parent / "results"


@dataclass
class Report:
    """Figures by name, printed as they come and kept as data."""

    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, **values: Any) -> None:
        rounded = {k: round(v, 2) if isinstance(v, float) else v for k, v in values.items()}
        self.figures[name] = rounded
        print(f"{name:<44}" + "  ".join(f"{k} {v}" for k, v in rounded.items()), flush=True)


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest of a list of milliseconds."""
    ordered = sorted(milliseconds)
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "max_ms": ordered[-1],
        "n": len(ordered),
    }


@contextmanager
def system(data: Path, encoder: str, **settings: str) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """A whole system as `trieflow up` starts it, in a folder of its own. settings: `rollout__session_s="2"`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}
    environment |= {f"TRIEFLOW_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "trieflow", "--data", str(data), "--encoder", encoder, "up"]
    with (data / "up.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            settings = _when_ready(data, encoder)
            yield settings, process
        finally:
            process.terminate()
            process.wait(60)


def _when_ready(data: Path, encoder: str, *, within_s: float = 600.0) -> Settings:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        running = running_system(data)
        if running is not None and running.ready:
            return Settings(data=data, brokers=running.brokers, encoder=encoder)
        time.sleep(0.05)
    raise SystemExit(f"the system was not ready within {within_s:.0f} s; see {data}/up.log and {data}/logs")


# -- the floor ----------------------------------------------------------------------------------------------


def floor(settings: Settings, report: Report) -> None:
    """One record through Kafka and back with the raw clients: what no path can be faster than."""
    topic = settings.topic("feedback")
    consumer = reader(settings, **{"enable.partition.eof": False})
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1]
        for p in range(settings.partitions)
    ]
    consumer.assign([TopicPartition(topic, p, end) for p, end in enumerate(ends)])
    writer = producer(settings)
    milliseconds = []
    for n in range(QUERIES):
        started = time.perf_counter()
        writer.produce(topic, key=f"floor-{n}", value=b"{}")
        writer.flush()
        while consumer.poll(1.0) is None:
            pass
        milliseconds.append((time.perf_counter() - started) * 1_000)
    consumer.close()
    report.add("raw clients, one record there and back", **spread(milliseconds[20:]))


# -- documents ----------------------------------------------------------------------------------------------


def publish_all(
    settings: Settings, watcher: Watcher, bodies: Sequence[tuple[str, bytes]]
) -> tuple[float, float]:
    """Publish as fast as Kafka takes it; seconds until the last is in the log, and in the index."""
    writer = producer(settings)
    topic = settings.topic("documents")
    goal = watcher.count + len(bodies)
    started = time.perf_counter()
    for document_id, body in bodies:
        while True:
            try:
                writer.produce(topic, key=document_id, value=body)
                break
            except BufferError:
                writer.poll(0.1)
        writer.poll(0)
    writer.flush()
    watcher.wait_for(goal, timeout_s=600)
    return time.perf_counter() - started, watcher.busy_since(started)


def ready_vectors(count: int, *, stamp: str, dimension: int, first: int = 0) -> list[tuple[str, bytes]]:
    """Documents that bring a vector (dimension,) of unit length."""
    rows = np.random.default_rng(first).standard_normal((count, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        (f"ready-{first + n}", with_vector(f"document {first + n}", row, stamp)) for n, row in enumerate(rows)
    ]


def bulk(
    settings: Settings, watcher: Watcher, report: Report, *, name: str, bodies: list[tuple[str, bytes]]
) -> None:
    seconds, _ = publish_all(settings, watcher, bodies)
    report.add(name, documents=len(bodies), documents_per_s=len(bodies) / seconds)


def singles(settings: Settings, watcher: Watcher, report: Report, *, stamp: str, dimension: int) -> None:
    """One event every 20 ms, each timed until a live index like the searcher's has it."""
    writer = producer(settings)
    sent = {}
    for document_id, body in ready_vectors(SINGLES, stamp=stamp, dimension=dimension, first=5_000_000):
        sent[document_id] = time.perf_counter()
        writer.produce(settings.topic("documents"), key=document_id, value=body)
        writer.poll(0)
        time.sleep(0.02)
    writer.flush()
    watcher.wait_for(watcher.count_at_start_of(sent) + SINGLES, timeout_s=60)
    milliseconds = [(watcher.seen[document_id] - at) * 1_000 for document_id, at in sent.items()]
    report.add("event -> searchable, 50 a second", **spread(milliseconds))


# -- queries ------------------------------------------------------------------------------------------------


def queries_one_by_one(client: Client, report: Report, questions: Sequence[str], *, name: str) -> None:
    milliseconds, stages = [], []
    for question in questions:
        started = time.perf_counter()
        result = client.search(question, timeout=30)
        milliseconds.append((time.perf_counter() - started) * 1_000)
        stages.append(dict(result.took_ms or {}))
    report.add(name, **spread(milliseconds[10:]))
    report.add(name + ", stages (p50 ms)", **_stages(stages[10:]))


def _stages(stages: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for stage in stages for name in stage})
    return {name: statistics.median([s[name] for s in stages if name in s]) for name in names}


def queries_at_rate(
    client: Client, report: Report, questions: Sequence[str], *, name: str, per_s: float = 20.0
) -> None:
    """An open loop: a query leaves every 1/rate s, whether the last one is answered or not."""
    milliseconds: list[float] = []
    finished = threading.Semaphore(0)

    def noted(started: float) -> Callable[[Any], None]:
        def note(pending: Any) -> None:
            milliseconds.append((time.perf_counter() - started) * 1_000)
            finished.release()

        return note

    due = time.perf_counter()
    for question in questions:
        time.sleep(max(0.0, due - time.perf_counter()))
        client.search_async(question, timeout=30).on_done(noted(time.perf_counter()))
        due += 1 / per_s
    for _ in questions:
        finished.acquire(timeout=60)
    report.add(name, **spread(milliseconds[10:]))


# -- restarts -----------------------------------------------------------------------------------------------


def restart(data: Path, encoder: str, report: Report) -> None:
    """Seconds from `trieflow up` on a full disk until everything is ready: broker, recovery, models."""
    started = time.perf_counter()
    with system(data, encoder):
        report.add("restart to ready", seconds=time.perf_counter() - started)


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it all. Writes `benchmarks/results/path.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench path", description=__doc__)
    parser.add_argument(
        "--documents", type=int, default=DOCUMENTS, help="ready vectors (default %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=1, help="whole runs, each on an empty system")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="then ready vectors at --rate and 20 queries/s for so long"
    )
    parser.add_argument("--rate", type=float, default=278.0, help="documents/s (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/path.json")
    options = parser.parse_args(list(arguments))
    reports = [_run(settings.encoder, options) for _ in range(options.runs)]
    if options.keep:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps([report.figures for report in reports], indent=1)
        (RESULTS / "path.json").write_text(text + "\n")


def _run(encoder: str, options: argparse.Namespace) -> Report:
    report = Report()
    report.add("machine", python=platform.python_version(), cores=os.cpu_count(), encoder=encoder)
    with tempfile.TemporaryDirectory(prefix="trieflow-bench-") as folder:
        data = Path(folder)
        with system(data, encoder) as (running, _):
            _measure(running, report, options)
        restart(data, encoder, report)
    return report


def _measure(settings: Settings, report: Report, options: argparse.Namespace) -> None:
    floor(settings, report)
    with Watcher(settings) as watcher, Client(settings) as client:
        stamp, dimension = watcher.stamp, watcher.dimension
        questions = [title for title, _ in texts(2 * QUERIES)]
        bulk(
            settings,
            watcher,
            report,
            name="text only",
            bodies=[(f"text-{n}", _text(t)) for n, t in enumerate(texts(2_000))],
        )
        bulk(settings, watcher, report, name="pictures", bodies=list(pictures(PICTURES)))
        ready = ready_vectors(options.documents, stamp=stamp, dimension=dimension)
        bulk(settings, watcher, report, name="ready vectors", bodies=ready)
        singles(settings, watcher, report, stamp=stamp, dimension=dimension)
        queries_one_by_one(client, report, questions[:QUERIES], name="query, one at a time")
        queries_at_rate(client, report, questions[QUERIES:], name="query, 20 a second")
        feeding = threading.Thread(
            target=_feed, args=(settings, stamp, dimension, QUERIES / 20 * 1.2), name="feed", daemon=True
        )
        feeding.start()
        queries_at_rate(client, report, questions[:QUERIES], name="query, 20 a second beside 100 documents/s")
        feeding.join()
        if options.minutes:
            steady = sustain(settings, watcher, client, questions, rate=options.rate, minutes=options.minutes)
            report.add(f"{options.rate:.0f} documents/s for {options.minutes:.0f} min", **steady.figures())


def _feed(settings: Settings, stamp: str, dimension: int, seconds: float) -> None:
    writer = producer(settings)
    for document_id, body in ready_vectors(
        int(100 * seconds), stamp=stamp, dimension=dimension, first=9_000_000
    ):
        writer.produce(settings.topic("documents"), key=document_id, value=body)
        writer.poll(0)
        time.sleep(0.01)
    writer.flush()


def _text(entry: tuple[str, str]) -> bytes:
    return json.dumps({"title": entry[0], "text": entry[1]}).encode()
