"""`trieflow bench dense`: the dense path at a million documents of 512 numbers, while documents change beside it.

The vectors are pairs of vectors of the corpus, side by side and of unit length: real ones of that length do not
come in packages. They say what size and speed are; recall on them is that of these vectors alone. Documents
change in the thread of the follower, as in a searcher, and queries are asked one after the other with a
pause of 1 ms. The index is kept in the folder every 100,000 documents; stopped, building goes on from there.
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks import corpus
from benchmarks.tables import keep, markdown
from state.dense import DenseFollower, DenseIndex
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_NEAREST, _SCORED_AGAIN, _QUERIES = 10, 50, 500
_WEIGHTS = (0.8, 0.6)  # of the two halves of a vector: their squares sum to one
_STAMP = "benchmark"
_KEPT_EVERY = 100_000
_PAUSE_S = 0.001
_EXPANSIONS = (16, 24, 32, 48, 64, 96, 128, 256)
_EXPANSION = 64  # beside changes


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Build what is missing, measure, print tables. Writes `benchmarks/results/dense.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench dense", description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000, help="(default %(default)s)")
    parser.add_argument(
        "--single", action="store_true", help="vectors of the corpus as they are, of 256 numbers"
    )
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of corpus and index (default %(default)s)"
    )
    parser.add_argument("--build", action="store_true", help="only build")
    parser.add_argument("--rates", type=int, nargs="+", default=[0, 278, 500], help="changes a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="at each rate (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/dense.json")
    options = parser.parse_args(list(arguments))
    whole = corpus.load(options.folder)
    vectors = (
        whole.vectors[: options.documents] if options.single else pairs(whole.vectors, options.documents, 0)
    )
    file = options.folder / f"dense-{len(vectors)}x{vectors.shape[1]}.npz"
    building = _built(file, vectors)
    if options.build:
        return
    queries = whole.queries[:_QUERIES] if options.single else pairs(whole.queries, _QUERIES, 1)
    index, opened = _opened(file, vectors)
    figures: dict[str, Any] = {**opened, **building}
    figures["points"] = _points(index, vectors, queries, options.rounds)
    figures["beside"] = _beside(index, vectors, queries, options, file)
    figures["bytes_a_document"] = file.stat().st_size / len(vectors)
    _print(figures)
    if options.keep:
        print(f"kept in {keep('dense', f'{len(vectors)} of {vectors.shape[1]}', figures)}")


def pairs(vectors: Vectors, count: int, seed: int) -> Vectors:
    """`count` unit vectors, each of two random rows side by side."""
    random = np.random.default_rng(seed)
    halves = [vectors[random.integers(len(vectors), size=count)] * np.float32(w) for w in _WEIGHTS]
    return np.concatenate(halves, axis=1)


# -- building and opening -----------------------------------------------------------------------------------


def _built(file: Path, vectors: Vectors) -> dict[str, float]:
    """Build what is missing of the kept index. Returns the pace, where it built."""
    index = (
        _loaded(file, len(vectors)) if file.exists() else DenseIndex(vectors.shape[1], capacity=len(vectors))
    )
    first, started = len(index), time.perf_counter()
    for slot in range(first, len(vectors)):
        index.put(slot, [vectors[slot]], identity=slot, version=index.version(slot))
        if (slot + 1) % _KEPT_EVERY == 0 or slot + 1 == len(vectors):
            index.save(file, stamp=_STAMP)
            pace = (slot + 1 - first) / (time.perf_counter() - started)
            print(f"{slot + 1:,} documents, {pace:,.0f} a second", flush=True)
    return {"inserts_s": pace} if first < len(vectors) else {}


def _loaded(file: Path, documents: int) -> DenseIndex:
    slots = np.arange(documents)
    return DenseIndex.load(file, stamp=_STAMP, slots=slots.astype(np.int32), identities=slots)


def _opened(file: Path, vectors: Vectors) -> tuple[DenseIndex, dict[str, float]]:
    process = psutil.Process()
    before, started = process.memory_info().rss, time.perf_counter()
    index = _loaded(file, len(vectors))
    taken = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return index, {
        "documents": len(index),
        "load_s": taken,
        "memory_mb": (process.memory_info().rss - before) / 1e6,
        "peak_mb": (peak - before) / 1e6,
    }


# -- recall against cost, and changes beside ----------------------------------------------------------------


def _points(index: DenseIndex, vectors: Vectors, queries: Vectors, rounds: int) -> list[dict[str, float]]:
    exact = corpus.exact_neighbours(vectors, queries, count=_NEAREST)
    points = []
    for expansion in _EXPANSIONS:
        taken: list[float] = []
        found = 0
        for query, nearest in zip(queries, exact, strict=True):
            for _ in range(rounds):
                started = time.perf_counter()
                slots, _ = index.search(query, min(expansion, _SCORED_AGAIN), expansion=expansion)
                taken.append(time.perf_counter() - started)
            best = slots[np.argsort(-(vectors[slots] @ query))[:_NEAREST]]
            found += len(np.intersect1d(best, nearest))
        recall = found / (_NEAREST * len(queries))
        points.append({"expansion": expansion, "recall": recall, **_quantiles(taken)})
    return points


def _beside(
    index: DenseIndex, vectors: Vectors, queries: Vectors, options: argparse.Namespace, file: Path
) -> list[dict[str, Any]]:
    follower = DenseFollower(index, lambda slot: (slot, [vectors[slot]]))
    phases: dict[str, Callable[[], Any]] = {
        f"{rate} changes/s": lambda rate=rate: _changing(follower, len(vectors), rate)  # type: ignore[misc]
        for rate in options.rates
    }
    phases["a snapshot is written"] = lambda: _saving(follower, file.with_suffix(".beside"))
    taken: dict[str, list[float]] = {name: [] for name in phases}
    reached: dict[str, int] = dict.fromkeys(phases, 0)
    for _ in range(options.rounds):
        for name, phase in phases.items():
            with phase() as count:
                taken[name] += _asked(index, queries, options.seconds)
            reached[name] += count[0]
    follower.close()
    seconds = options.seconds * options.rounds
    return [
        {"beside": name, "changes_s": reached[name] / seconds, **_quantiles(taken[name])} for name in phases
    ]


def _asked(index: DenseIndex, queries: Vectors, seconds: float) -> list[float]:
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        index.search(queries[len(taken) % len(queries)], _SCORED_AGAIN, expansion=_EXPANSION)
        taken.append(time.perf_counter() - started)
        time.sleep(_PAUSE_S)
    return taken


@contextmanager
def _changing(follower: DenseFollower, documents: int, rate: int) -> Iterator[list[int]]:
    """Change documents at a rate while the block runs; gives how many the follower has done."""
    stop, told, done = threading.Event(), [0], [0]
    random = np.random.default_rng(2)

    def change() -> None:
        started = time.perf_counter()
        while not stop.wait(1 / rate):
            while told[0] < (time.perf_counter() - started) * rate:
                told[0] += 1
                follower.changed(int(random.integers(documents)), at=told[0])

    thread = threading.Thread(target=change)
    if rate:
        thread.start()
    yield done
    stop.set()
    if rate:
        thread.join()
    done[0] = told[0] - follower.behind
    while follower.behind:
        time.sleep(0.01)


@contextmanager
def _saving(follower: DenseFollower, file: Path) -> Iterator[list[int]]:
    """Write snapshots, one after the other, while the block runs; gives how many."""
    stop, done = threading.Event(), [0]

    def save() -> None:
        while not stop.is_set():
            follower.save(file, stamp=_STAMP)
            done[0] += 1

    thread = threading.Thread(target=save)
    thread.start()
    yield done
    stop.set()
    thread.join()
    file.unlink()


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.asarray(seconds) * 1_000
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    return {name: float(np.quantile(values, share)) for name, share in shares.items()} | {"n": len(values)}


def _print(figures: dict[str, Any]) -> None:
    single = ("documents", "load_s", "memory_mb", "peak_mb", "bytes_a_document", "inserts_s")
    print("\n" + markdown(["what", "figure"], [[name, figures.get(name)] for name in single]))
    for part in ("points", "beside"):
        header = list(figures[part][0])
        print("\n" + markdown(header, [[row[name] for name in header] for row in figures[part]]))
