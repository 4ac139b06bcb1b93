"""Queries at a rate beside changes at a rate, in one process; what went on while a query was answered is noted."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agents.replica import BATCH, rest_s
from agents.searcher import THREADS
from benchmarks.query_searcher import PARTITION, BareSearcher
from models.codebooks import Decision
from streams.records import Record

QUERIES_S = 20.0
_POLL_S = 0.002
_WORTH_TELLING_S = 0.001
NOTHING = "nothing of these"
COMMIT, SNAPSHOT, SPLIT, COLLECTION = "lexical commit", "graph written", "leaf split", "garbage collected"


@dataclass
class Windows:
    """What went on when: name, start and end by `perf_counter`."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.spans.append((name, started, time.perf_counter()))

    def between(self, start: float, end: float) -> set[str]:
        """Names of what went on at any time between."""
        return {name for name, began, ended in self.spans if began < end and ended > start} or {NOTHING}

    @contextmanager
    def watching(self, searcher: BareSearcher) -> Iterator[None]:
        """Note commits of the lexical index and collections of the interpreter while the block runs."""
        index = searcher.lexical.index
        commit: Callable[[], None] = index._commit
        began = 0.0

        def marked() -> None:
            with self.during(COMMIT):
                commit()

        def collected(phase: str, about: Mapping[str, int]) -> None:
            nonlocal began
            now = time.perf_counter()
            if phase == "start":
                began = now
            elif now - began > _WORTH_TELLING_S:
                self.spans.append((COLLECTION, began, now))

        setattr(index, "_commit", marked)  # noqa: B010  a benchmark looks into it, nobody else does
        gc.callbacks.append(collected)
        try:
            yield
        finally:
            gc.callbacks.remove(collected)
            setattr(index, "_commit", commit)  # noqa: B010


@dataclass(frozen=True)
class Answered:
    """One query: when it was due and when its answer was there (`perf_counter`), seconds by stage, hits."""

    due: float
    done: float
    seconds: Mapping[str, float]
    hits: int


def ask_at_rate(
    searcher: BareSearcher, questions: Sequence[str], *, seconds: float, per_s: float = QUERIES_S
) -> list[Answered]:
    """An open loop: a query is due every 1 / rate s, whether the last is answered or not."""
    answers: list[Future[Answered]] = []
    with ThreadPoolExecutor(THREADS, thread_name_prefix="search") as pool:
        first = time.perf_counter()
        for number in range(int(seconds * per_s)):
            due = first + number / per_s
            time.sleep(max(0.0, due - time.perf_counter()))
            answers.append(pool.submit(_answered, searcher, questions[number % len(questions)], due))
        return [answer.result() for answer in answers]


def _answered(searcher: BareSearcher, question: str, due: float) -> Answered:
    started = time.perf_counter()
    found = searcher.ask(question)
    done = time.perf_counter()
    seconds = {"waiting for a thread": started - due, **found.seconds, "total": done - due}
    return Answered(due, done, seconds, len(found.hits))


class Changing:
    """A thread that applies records at a rate, all that are due at once, as the replica does."""

    def __init__(
        self,
        searcher: BareSearcher,
        records: Sequence[Record],
        *,
        per_s: float,
        splits: Mapping[int, tuple[Decision, Sequence[Record]]],
        windows: Windows,
    ) -> None:
        """splits: by the number of the record before which it comes, a decision and the moves that it asks for."""
        self.taken: dict[str, list[float]] = {"decode": [], "fold": [], "index": [], "a batch": []}
        self.done = 0
        self.largest = 0
        self._searcher = searcher
        self._records = records
        self._per_s = per_s
        self._splits = dict(splits)
        self._windows = windows
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica")

    def __enter__(self) -> Changing:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.perf_counter()
        while not self._stopping.is_set() and self.done < len(self._records):
            due = min(len(self._records), int((time.perf_counter() - started) * self._per_s))
            if due == self.done:
                time.sleep(_POLL_S)
                continue
            batch = self._records[self.done : min(due, self.done + BATCH)]
            self._split_before(self.done + len(batch))
            self._take(batch)
            self.done += len(batch)
            time.sleep(rest_s(len(batch)))

    def _split_before(self, number: int) -> None:
        for at in [at for at in self._splits if at <= number]:
            decision, moves = self._splits.pop(at)
            with self._windows.during(SPLIT):
                self._searcher.change_leaves(decision.changes)
                self._take(moves)

    def _take(self, batch: Sequence[Record]) -> None:
        first = self._searcher.shard.position(PARTITION)
        batch = [replace(record, offset=offset) for offset, record in enumerate(batch, first)]
        times = [time.perf_counter()]
        records = self._searcher.decoded(batch)
        times.append(time.perf_counter())
        self._searcher.shard.apply(records)
        times.append(time.perf_counter())
        self._searcher.applied(records)
        times.append(time.perf_counter())
        for name, taken in zip(self.taken, [*np.diff(times).tolist(), times[-1] - times[0]], strict=True):
            self.taken[name].append(taken)
        self.largest = max(self.largest, len(batch))


def by_stage(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """p50, p99, p99.9 and the largest of each stage, in milliseconds."""
    return {name: quantiles([answer.seconds[name] for answer in answers]) for name in answers[0].seconds}


def by_window(answers: Sequence[Answered], windows: Windows) -> dict[str, dict[str, float]]:
    """The whole time of queries, by what went on while they were answered."""
    totals: dict[str, list[float]] = {}
    for answer in answers:
        for name in windows.between(answer.due, answer.done):
            totals.setdefault(name, []).append(answer.seconds["total"])
    return {name: quantiles(taken) for name, taken in sorted(totals.items())}


def quantiles(seconds: Sequence[float]) -> dict[str, Any]:
    """In milliseconds."""
    values = np.asarray(seconds) * 1_000
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    found = {name: float(np.quantile(values, share)) for name, share in shares.items()}
    return {**found, "max_ms": float(values.max()), "n": len(values)}
