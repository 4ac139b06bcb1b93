"""The path at a steady rate: documents go in and queries are asked for minutes, and whether anything piles up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.path_inputs import with_vector
from benchmarks.watcher import Watcher
from streams.clients import producer
from streams.settings import Settings
from trieflow.client import Client

QUERIES_PER_S = 20.0
_SAMPLE_S = 5.0
_CENTRES = 2_000
_SPREAD = 0.7


@dataclass
class Sustained:
    """What was seen: lag (documents published and not yet searchable) by time, query times, paths behind."""

    lag: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    behind: dict[str, list[int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    published: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        """For a report. The lag of the first, the middle and the last minute: flat, or it does not keep up."""
        minute = max(1, int(60 / _SAMPLE_S))
        middle = len(self.lag) // 2
        ordered = np.array(self.milliseconds)
        return {
            "documents": self.published,
            "documents_per_s": self.published / self.seconds,
            "lag_first_minute": float(np.median(self.lag[:minute])),
            "lag_middle": float(np.median(self.lag[middle : middle + minute])),
            "lag_last_minute": float(np.median(self.lag[-minute:])),
            "lag_most": max(self.lag),
            "queries": len(self.milliseconds),
            "query_errors": self.errors,
            **{f"query_p{p}_ms".replace(".", "_"): float(np.percentile(ordered, p)) for p in (50, 99, 99.9)},
            **{f"{path}_behind_most": max(counts) for path, counts in sorted(self.behind.items())},
            **{f"mode_{mode}": count for mode, count in sorted(self.modes.items())},
        }


def sustain(
    settings: Settings,
    watcher: Watcher,
    client: Client,
    questions: Sequence[str],
    *,
    rate: float,
    minutes: float,
) -> Sustained:
    """Publish `rate` ready vectors a second for so many minutes, beside queries; both are open loops."""
    seen, ended = Sustained(), threading.Event()
    asking = threading.Thread(target=_ask, args=(client, questions, seen, ended), name="ask", daemon=True)
    writer = producer(settings)
    first = watcher.count
    started = due = time.perf_counter()
    sampled = started
    asking.start()
    for document_id, body in _documents(int(rate * minutes * 60), watcher):
        time.sleep(max(0.0, due - time.perf_counter()))
        due += 1 / rate
        writer.produce(settings.topic("documents"), key=document_id, value=body)
        writer.poll(0)
        seen.published += 1
        if time.perf_counter() - sampled > _SAMPLE_S:
            sampled = time.perf_counter()
            seen.lag.append(seen.published - (watcher.count - first))
    writer.flush()
    seen.seconds = time.perf_counter() - started
    watcher.wait_for(first + seen.published, timeout_s=120)
    ended.set()
    asking.join()
    return seen


def _documents(count: int, watcher: Watcher) -> Iterator[tuple[str, bytes]]:
    """Ready vectors about some centres, so that leaves fill and split as those of real documents do."""
    random = np.random.default_rng(17)
    centres = random.standard_normal((_CENTRES, watcher.dimension)).astype(np.float32)
    for n in range(count):
        row = centres[int(_CENTRES * random.random() ** 2)]
        row = row + _SPREAD * random.standard_normal(watcher.dimension).astype(np.float32)
        row /= np.linalg.norm(row)
        yield f"steady-{n}", with_vector(f"steady document {n}", row, watcher.stamp)


def _ask(client: Client, questions: Sequence[str], seen: Sustained, ended: threading.Event) -> None:
    waiting = threading.Semaphore(0)
    asked = 0
    due = time.perf_counter()

    def note(started: float, pending: Any) -> None:
        seen.milliseconds.append((time.perf_counter() - started) * 1_000)
        try:
            result = pending.result()
            seen.errors += result.error is not None
            seen.modes[str(result.mode)] = seen.modes.get(str(result.mode), 0) + 1
            for path, count in (result.behind or {}).items():
                seen.behind.setdefault(path, []).append(count)
        except Exception:
            seen.errors += 1
        waiting.release()

    while not ended.is_set():
        time.sleep(max(0.0, due - time.perf_counter()))
        due += 1 / QUERIES_PER_S
        started = time.perf_counter()
        client.search_async(questions[asked % len(questions)], timeout=30).on_done(partial(note, started))
        asked += 1
    for _ in range(asked):
        waiting.acquire(timeout=60)
