"""How long an inserted row takes to be found, while rows go in and queries are asked beside it."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.peers.contract import Peer

_GIVE_UP_S = 5.0


def times_to_visible(
    engine: Peer,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    *,
    first: int,
    probes: int,
    effort: int,
    inserts_s: float,
    queries_s: float,
    most_s: float,
    pause_s: float = 0.02,
) -> dict[str, Any]:
    """Insert rows first, first + 1 ... one at a time and ask for each until it is found, for `most_s` at most.

    Two threads beside it insert `inserts_s` rows and ask `queries_s` queries a second. An engine that does not say
    that it may be used from several threads gets one lock around each call, as its user would have to.

    Returns: seconds from the call of insert until found, for each probe (the give-up time where never), how many
    were never found, seconds of the insert alone, and how many rows and queries went beside in how many seconds.
    """
    load = _Load(engine, vectors, queries, first=first, effort=effort)
    threads = [load.every(1 / inserts_s, load.insert_one), load.every(1 / queries_s, load.ask_one)]
    for thread in threads:
        thread.start()
    visible: list[float] = []
    inserted: list[float] = []
    never, began = 0, time.perf_counter()
    try:
        while len(visible) < probes and time.perf_counter() - began < most_s:
            time.sleep(pause_s)
            started = time.perf_counter()
            row = load.insert_one()
            inserted.append(time.perf_counter() - started)
            while not (found := load.finds(row)) and time.perf_counter() - started < _GIVE_UP_S:
                pass
            never += not found
            visible.append(time.perf_counter() - started)
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
    return {
        "visible_s": visible,
        "insert_s": inserted,
        "never": never,
        "rows": load.inserted,
        "queries": load.asked,
        "seconds": time.perf_counter() - began,
    }


class _Load:
    def __init__(
        self,
        engine: Peer,
        vectors: NDArray[np.float32],
        queries: NDArray[np.float32],
        *,
        first: int,
        effort: int,
    ) -> None:
        self._engine, self._vectors, self._queries = engine, vectors, queries
        self._first, self._effort = first, effort
        self._numbering = threading.Lock()  # rows are numbered in the order of their inserts
        self._guard = nullcontext() if engine.concurrent else threading.Lock()
        self.stop = threading.Event()
        self.inserted = self.asked = 0

    def every(self, seconds: float, do: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            due = time.perf_counter()
            while not self.stop.wait(max(0.0, due - time.perf_counter())):
                do()
                due = max(
                    due + seconds, time.perf_counter() - 1.0
                )  # it does not catch up with more than a second

        return threading.Thread(target=run, daemon=True)

    def insert_one(self) -> int:
        with self._numbering:
            row = self._first + self.inserted
            self.inserted += 1
            with self._guard:
                self._engine.insert(row, np.array(self._vectors[row : row + 1]))
                self._engine.make_visible()
        return row

    def ask_one(self) -> None:
        self.asked += 1
        with self._guard:
            self._engine.search(self._queries[self.asked % len(self._queries)], 10, self._effort)

    def finds(self, row: int) -> bool:
        with self._guard:
            found = self._engine.search(np.array(self._vectors[row]), 10, self._effort)
        return row in found.tolist()
