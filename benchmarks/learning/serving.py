"""`trieflow bench learning --serving`: how long queries take while the system trains, and while adapters change.

A whole system with a trainer. People click first, so that there is something to train on; then queries of theirs
leave at a steady rate, whether the one before is answered or not: with nothing else going on, while
`trieflow models train` runs, while that adapter is promoted and taken back in turns every two seconds, and with
nothing else going on once more, since the machine itself may have changed meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.evaluation import MEASURED
from benchmarks.learning.people import TOP_K, People
from benchmarks.learning.progress import wait_until_all_is_taken_in
from benchmarks.learning.stage import encoded, publish
from benchmarks.learning.world import World, make_world
from benchmarks.path import system
from benchmarks.tables import keep, markdown
from models.encoders.registry import load_encoder
from streams.errors import TrieflowError
from streams.events.models import ADAPTER_MODEL, RolloutRequest
from streams.settings import Settings
from trieflow.adapters import ask_rollout, ask_training, follow_training
from trieflow.client import Client

RATE = 20.0
SECONDS = 30.0
CLICKS = 1_500
SWAP_EVERY_S = 2.0
_PATIENCE_S = 600.0
_TIMEOUT_S = 30.0


@dataclass
class Load:
    """Queries at a rate. ms: from when a query was due until its answer was there; failed: answered by an error,
    or not at all. adapters: that took part in answers."""

    name: str
    asked: int = 0
    ms: list[float] = field(default_factory=list)
    failed: int = 0
    adapters: set[str] = field(default_factory=set)
    happened: str = ""

    def figures(self) -> dict[str, Any]:
        p50, p99 = np.percentile(self.ms, [50, 99]) if self.ms else (np.nan, np.nan)
        return {
            "name": self.name,
            "queries": self.asked,
            "failed": self.failed,
            "p50_ms": float(p50),
            "p99_ms": float(p99),
            "adapters": len(self.adapters),
            "happened": self.happened,
        }


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes the part `serving` of `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning --serving", description=__doc__)
    parser.add_argument("--serving", action="store_true", required=True)
    parser.add_argument("--rate", type=float, default=RATE, help="queries/s (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of each part but the training (default %(default)s)"
    )
    parser.add_argument("--clicks", type=int, default=CLICKS, help="to train on (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=2)
    world = make_world(options.seed, lambda texts: encoded(encoder, texts))
    stamp = encoder.description.stamp
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-serving-") as folder,
        system(Path(folder), "lite") as (found, _),
        Client(found) as client,
    ):
        publish(client, world, stamp=stamp)
        people = People(client, world, seed=options.seed)
        people.go_on(lambda tally: tally.clicks >= options.clicks)
        wait_until_all_is_taken_in(found)
        loads = measure(client, found, world, options)
    print("\n" + markdown(*_table(loads)))
    if options.keep:
        print(f"kept in {keep('learning', 'serving', [each.figures() for each in loads])}")


def measure(client: Client, settings: Settings, world: World, options: argparse.Namespace) -> list[Load]:
    """All parts, one after another. Raises TrieflowError when the training fails."""
    asking = Asking(client, world, rate=options.rate, seed=options.seed)
    loads: list[Load] = []
    asking.for_seconds("warming up", 5.0)

    def told(load: Load) -> None:
        loads.append(load)
        print(markdown(*_table([load])), flush=True)

    told(asking.for_seconds("nothing else", options.seconds))
    with _beside(lambda: _trained(settings)) as training:
        load = asking.until("a training", training.done)
        version, load.happened = training.result()
    told(load)
    ended = threading.Event()
    with _beside(lambda: _swapped(settings, version, ended)) as swapping:
        load = asking.for_seconds("swaps of adapters", options.seconds)
        ended.set()
        load.happened = swapping.result()
    told(load)
    told(asking.for_seconds("nothing else, again", options.seconds))
    return loads


class Asking:
    """An open loop of queries that people ask, which teach nothing."""

    def __init__(self, client: Client, world: World, *, rate: float, seed: int) -> None:
        self._client = client
        self._rate = rate
        self._asked = [each.text for each in world.asked if each.kind in MEASURED]
        self._chance = np.random.default_rng([seed, 11])

    def for_seconds(self, name: str, seconds: float) -> Load:
        """Ask for so long."""
        until = time.perf_counter() + seconds
        return self.until(name, lambda: time.perf_counter() >= until)

    def until(self, name: str, over: Callable[[], bool]) -> Load:
        """Ask until a condition holds, and wait for the answers that are due."""
        load, lock, pending = Load(name), threading.Lock(), []
        first = time.perf_counter()
        while not over():
            due = first + len(pending) / self._rate
            time.sleep(max(0.0, due - time.perf_counter()))
            asked = self._client.search_async(
                self._asked[int(self._chance.integers(len(self._asked)))],
                top_k=TOP_K,
                session_id=f"load-{len(pending)}",
                learn=False,
                timeout=_TIMEOUT_S,
            )
            asked.on_done(_noted(load, lock, due))
            pending.append(asked)
        load.asked = len(pending)
        for each in pending:
            try:
                result = each.result(_TIMEOUT_S)
                failed = result.error is not None
                load.adapters |= {
                    each for each in result.models or [] if each.startswith(f"{ADAPTER_MODEL}@")
                }
            except TrieflowError:
                failed = True
            load.failed += failed
        return load


def _noted(load: Load, lock: threading.Lock, due: float) -> Callable[[object], None]:
    def note(_: object) -> None:
        taken = (time.perf_counter() - due) * 1_000
        with lock:
            load.ms.append(taken)

    return note


@contextmanager
def _beside(work: Callable[[], Any]) -> Iterator[Any]:
    """The future of work that a thread does meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as thread:
        yield thread.submit(work)


def _trained(settings: Settings) -> tuple[str, str]:
    """Ask for a training and follow it to its end: the version, and what is to be told."""
    started = time.perf_counter()
    run = ask_training(settings).run
    last = follow_training(settings, run, on_progress=lambda event: None, timeout=_PATIENCE_S)
    if last.version is None:
        raise TrieflowError(f"the training failed: {last.message}")
    return last.version, f"{time.perf_counter() - started:.0f} s, {last.verdict}"


def _swapped(settings: Settings, version: str, ended: threading.Event) -> str:
    """Promote and take back in turns until it has ended; how often. Nothing serves in the end."""
    swaps = 0
    while not ended.is_set() or swaps % 2:
        started = time.perf_counter()
        request = RolloutRequest(
            action="roll_back" if swaps % 2 else "promote",
            version=None if swaps % 2 else version,
            at=datetime.now(UTC),
        )
        ask_rollout(settings, request, timeout=_PATIENCE_S)
        swaps += 1
        ended.wait(max(0.0, SWAP_EVERY_S - (time.perf_counter() - started)))
    return f"{swaps} swaps"


def _table(loads: Sequence[Load]) -> tuple[list[str], list[list[object]]]:
    header = ["beside", "queries", "failed", "p50, ms", "p99, ms", "adapters seen", "what happened"]
    return header, [list(each.figures().values()) for each in loads]
