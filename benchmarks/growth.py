"""`trieflow bench growth`: trees beside each other while documents stream in and topics are born.

Recall@10 is what is retained of the exact answer when so many different documents are scored, leaf after leaf, the
nearest to the query first; each document stands in a second leaf too. Queries are rows that never come, in the mix
of what is there. Beside the trees that grow stands one fitted on everything, with as many leaves as ours has then.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import corpus
from benchmarks.drift import Stream, drifting
from benchmarks.growing_tree import GrowingTree
from benchmarks.leaf_recall import recall_when_scored
from benchmarks.tables import keep, markdown
from models.codebooks.growth import MEAN, SPLIT_ABOVE
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

NEAREST = 10
SCORED = (2_000, 4_000)
QUERIES = 800
A_BATCH = 64
TIDY_EVERY = 1_024
REPAIRS_AN_INSERT = 4
_ROWS_IN_STEPS = 16 * TIDY_EVERY
_OURS = "the same, fitted anew at four times (ours)"
_EVERYTHING = "fitted on everything"


@dataclass(frozen=True)
class Scheme:
    """first: the share of the stream that the first tree is fitted on, with `documents_a_leaf`.

    refits: it is fitted anew at so many times the documents of the last fit; 0: never.
    """

    first: float
    documents_a_leaf: int
    split_above: int | None = None
    tidy: bool = False
    centred: bool = False
    refits: int = 0


SCHEMES: Mapping[str, Scheme] = {
    "fitted at half, then frozen": Scheme(first=1 / 2, documents_a_leaf=32),
    "splits alone, above 96": Scheme(first=1 / 16, documents_a_leaf=64, split_above=96),
    "fitted anew at every doubling": Scheme(first=1 / 16, documents_a_leaf=32, refits=2),
    "the same, split above 256": Scheme(first=1 / 16, documents_a_leaf=32, split_above=SPLIT_ABOVE, refits=2),
    "the same, kept tidy and centred": Scheme(
        first=1 / 16, documents_a_leaf=32, split_above=SPLIT_ABOVE, tidy=True, centred=True, refits=2
    ),
    _OURS: Scheme(
        first=1 / 16, documents_a_leaf=32, split_above=SPLIT_ABOVE, tidy=True, centred=True, refits=4
    ),
}


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Grow each tree, print the table. Writes `benchmarks/results/growth.json` with `--keep`."""
    options = _options(arguments)
    whole = corpus.load(options.folder)
    figures: dict[str, Any] = {"rows": options.rows, "seeds": {}}
    for seed in options.seeds:
        figures["seeds"][seed] = _grown(whole, options.rows, seed)
        if not options.json:
            print(f"\nseed {seed}\n\n{_table(figures['seeds'][seed])}", flush=True)
    if options.json:
        print(json.dumps(figures))
    if options.keep:
        keep("growth", f"{options.rows} rows", figures)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench growth", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument(
        "--rows", type=int, default=131_072, help="length of the stream (default %(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="(default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/growth.json")
    options = parser.parse_args(list(arguments))
    if options.rows % _ROWS_IN_STEPS:
        parser.error(
            f"--rows: a multiple of {_ROWS_IN_STEPS:,}, so that all trees are asked at the same moments"
        )
    return options


@dataclass(frozen=True)
class _Asked:
    """Queries at one moment of the stream, their exact answers, and which are of topics born late."""

    queries: Vectors
    exact: NDArray[np.int32]
    late: NDArray[np.bool_]


def _grown(whole: corpus.Corpus, rows: int, seed: int) -> dict[str, Any]:
    stream = drifting(whole, length=rows, seed=seed)
    vectors = np.array(whole.vectors[stream.rows])
    moments = {
        count: _asked(whole, stream, vectors, count, seed) for count in (rows // 2, rows * 3 // 4, rows)
    }
    found: dict[str, Any] = {}
    for name, scheme in SCHEMES.items():
        found[name] = _one(scheme, vectors, moments, seed)
        print(f"{name}: done", flush=True)
    everything = {}
    for count, asked in moments.items():
        tree = GrowingTree(vectors)
        tree.fit(found[_OURS]["moments"][count]["leaves"], seed, first=count)
        everything[count] = _measured(tree, asked)
    return found | {_EVERYTHING: {"moments": everything}}


def _asked(whole: corpus.Corpus, stream: Stream, vectors: Vectors, count: int, seed: int) -> _Asked:
    rows = stream.queries(count, QUERIES, seed)
    queries = np.array(whole.vectors[np.sort(rows)])
    exact = corpus.exact_neighbours(vectors[:count], queries, count=NEAREST)
    return _Asked(queries, exact, stream.late[np.sort(rows)])


def _one(scheme: Scheme, vectors: Vectors, moments: Mapping[int, _Asked], seed: int) -> dict[str, Any]:
    tree, found = GrowingTree(vectors), {}
    first = int(len(vectors) * scheme.first)
    tree.fit(first // scheme.documents_a_leaf, seed, first=first)
    next_fit, started = scheme.refits * first, time.process_time()
    while True:
        if scheme.refits and tree.count >= next_fit and tree.count < len(vectors):
            tree.fit(2 * tree.count // MEAN, seed)
            next_fit *= scheme.refits
        if tree.count in moments:
            found[tree.count] = _measured(tree, moments[tree.count])
        if tree.count >= len(vectors):
            break
        _grow(tree, scheme)
    return {"moments": found, "cpu_s": time.process_time() - started}


def _grow(tree: GrowingTree, scheme: Scheme) -> None:
    tree.insert(A_BATCH)
    if scheme.split_above is not None:
        tree.split_above(scheme.split_above)
    if scheme.tidy and tree.count % TIDY_EVERY == 0:
        tree.tidy()
    if scheme.centred and tree.count % TIDY_EVERY == 0:
        tree.recentre()
    tree.repair(REPAIRS_AN_INSERT * A_BATCH)


def _measured(tree: GrowingTree, asked: _Asked) -> dict[str, Any]:
    postings, sizes = tree.postings(), tree.sizes()
    ranked = np.searchsorted(tree.book.leaves, tree.book.nearest(asked.queries, 1_024)[0])
    return {
        "recall": recall_when_scored(postings, ranked, asked.exact, SCORED),
        "recall_new": recall_when_scored(postings, ranked[asked.late], asked.exact[asked.late], SCORED[:1])
        if asked.late.any()
        else None,
        "leaves": len(tree.book),
        "subcategories": len(tree.book.subcategories),
        "largest_over_mean": float(sizes.max() / sizes.mean()),
        "splits": tree.splits,
        "recentred": tree.recentred,
        "renamed": tree.renamed,
        "renamed_by_fits": tree.renamed_by_fits,
    }


_HEADER = (
    "tree", "recall, 2,000 scored, at 1/2, 3/4, all", "4,000 scored", "new topics", "leaves", "largest / mean",
    "splits", "recentred", "renamed for 1,000 inserts", "by fits",
)  # fmt: skip


def _table(found: Mapping[str, Any]) -> str:
    return markdown(_HEADER, [_row(name, each) for name, each in found.items()])


def _row(name: str, each: Mapping[str, Any]) -> list[object]:
    moments, inserts = list(each["moments"].values()), max(each["moments"])
    last = moments[-1]
    return [
        name,
        " / ".join(f"{moment['recall'][SCORED[0]]:.3f}" for moment in moments),
        f"{last['recall'][SCORED[1]]:.3f}",
        last["recall_new"][SCORED[0]],
        last["leaves"],
        last["largest_over_mean"],
        last["splits"],
        last["recentred"],
        1_000 * last["renamed"] / inserts,
        1_000 * last["renamed_by_fits"] / inserts,
    ]
