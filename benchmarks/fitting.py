"""`trieflow bench fitting`: k-means by groups, which the tree is fitted with, beside k-means over all pairs.

Both make the same number of leaves of the same real vectors. Recall@10 is what is retained of the exact answer when
so many different documents are scored, leaf after leaf, the nearest to the query first. Then the nearest leaves of
vectors are looked for in the larger tree, in all leaves and in those of the nearest subcategories.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import psutil

from benchmarks import corpus
from benchmarks.leaf_recall import Postings, recall_when_scored
from benchmarks.tables import keep, markdown
from benchmarks.timing import in_turns
from models.codebooks import Codebook, fit_codebook, second_leaves
from models.codebooks import k_means as k_means_module
from models.codebooks import tree as tree_module
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

NEAREST = 10
SCORED = (2_000, 4_000)
DOCUMENTS_A_LEAF = 32
WAYS = {"by groups": 0, "all pairs": 1 << 62}
"""Centroids up to which all of them are looked at."""


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Fit, compare, print tables. Writes `benchmarks/results/fitting.json` with `--keep`."""
    options = _options(arguments)
    whole = corpus.load(options.folder)
    rows = min(options.rows, len(whole.vectors))
    vectors = np.array(whole.vectors[:rows])
    exact = corpus.exact_neighbours(vectors, whole.queries, count=NEAREST)
    figures: dict[str, Any] = {"rows": rows, "threads": faiss.omp_get_max_threads(), "fits": {}}
    book: Codebook | None = None
    for way in options.ways:
        book, fit = _fitted(vectors, way)
        figures["fits"][way] = fit | _recall(book, vectors, whole.queries, exact)
        print(markdown(_HEADER, [_row(name, each) for name, each in figures["fits"].items()]), flush=True)
    assert book is not None
    figures["finding"] = _finding(book, vectors[-8_192:])
    print(markdown(_FINDING, [[way, *each.values()] for way, each in figures["finding"].items()]))
    if options.keep:
        print(f"kept in {keep('fitting', f'{rows} rows', figures)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench fitting", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=131_072, help="the first ones (default %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="(default: both)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/fitting.json")
    return parser.parse_args(list(arguments))


def _fitted(vectors: Vectors, way: str) -> tuple[Codebook, dict[str, Any]]:
    leaves, started, used = len(vectors) // DOCUMENTS_A_LEAF, time.perf_counter(), time.process_time()
    with _flat_up_to(k_means_module, WAYS[way]), _peak_memory() as peak:
        book = fit_codebook(vectors, epoch=1, stamp="bench", leaves=leaves, seed=0)
    return book, {
        "leaves": len(book),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "extra_memory_mb": peak(),
    }


def _recall(book: Codebook, vectors: Vectors, queries: Vectors, exact: NDArray[np.integer]) -> dict[str, Any]:
    with _flat_up_to(tree_module, WAYS["all pairs"]):
        codes, distances = book.nearest(vectors, 8)
        ranked = np.searchsorted(book.leaves, book.nearest(queries, 1_024)[0])
    near = np.searchsorted(book.leaves, codes)
    second = second_leaves(vectors, first=near[:, 0], candidates=near, centroids=book.centroids)
    counts = np.bincount(near[:, 0], minlength=len(book))
    one = Postings.of(near[:, 0], leaves=len(book))
    two = Postings.of(near[:, 0], second, leaves=len(book))
    return {
        "error": float(distances[:, 0].mean()),
        "largest_leaf": int(counts.max()),
        "subcategories": len(book.subcategories),
        "one_leaf": recall_when_scored(one, ranked, exact, SCORED),
        "two_leaves": recall_when_scored(two, ranked, exact, SCORED),
    }


def _finding(book: Codebook, vectors: Vectors) -> dict[str, dict[str, float]]:
    """How fast the 8 nearest leaves are found, and how many of them: one thread."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        found, calls = {}, {}
        for way, flat_up_to in WAYS.items():
            with _flat_up_to(tree_module, flat_up_to):
                found[way] = book.nearest(vectors, 8)[0]
            calls[f"{way}, one"] = _call(book, vectors, flat_up_to, 1)
            calls[f"{way}, many"] = _call(book, vectors, flat_up_to, 2_048)
        timings = in_turns(calls, rounds=3, seconds=1.0)
    finally:
        faiss.omp_set_num_threads(threads)
    exact = found["all pairs"]
    return {
        way: {
            "best_found": float((found[way][:, 0] == exact[:, 0]).mean()),
            "best_8_found": float(
                np.mean([np.isin(a, b).mean() for a, b in zip(exact, found[way], strict=True)])
            ),
            "one_us": timings[f"{way}, one"].quantile(0.5) * 1e6,
            "many_a_second": 2_048 / timings[f"{way}, many"].quantile(0.5),
        }
        for way in WAYS
    }


def _call(book: Codebook, vectors: Vectors, flat_up_to: int, count: int) -> Callable[[int], object]:
    def call(number: int) -> object:
        with _flat_up_to(tree_module, flat_up_to):
            first = number * count % (len(vectors) - count)
            return book.nearest(vectors[first : first + count], 8)

    return call


@contextmanager
def _flat_up_to(module: Any, leaves: int) -> Iterator[None]:
    """Let a module look at all centroids up to so many, and at groups of them beyond."""
    usual, module.FLAT_UP_TO = module.FLAT_UP_TO, leaves
    try:
        yield
    finally:
        module.FLAT_UP_TO = usual


@contextmanager
def _peak_memory() -> Iterator[Callable[[], float]]:
    """The most memory that this process takes meanwhile beyond what it has now, MB."""
    process, over = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: (most - before) / 1e6
    finally:
        over.set()
        thread.join()


_HEADER = (
    "k-means", "leaves", "s", "CPU s", "extra memory, MB", "mean squared distance", "largest leaf",
    "recall, 2,000 / 4,000 scored", "the same with a second leaf",
)  # fmt: skip
_FINDING = ("leaves found by", "the best", "of the 8 best", "one vector, µs", "vectors/s, 2,048 a call")


def _row(way: str, each: dict[str, Any]) -> list[object]:
    return [
        way,
        each["leaves"],
        each["seconds"],
        each["cpu_seconds"],
        each["extra_memory_mb"],
        each["error"],
        each["largest_leaf"],
        " / ".join(f"{each['one_leaf'][most]:.3f}" for most in SCORED),
        " / ".join(f"{each['two_leaves'][most]:.3f}" for most in SCORED),
    ]
