"""`trieflow bench index --grow`: an index of half of the topics grows by the other half, then loses rows.

Topics are born one after the other, as services came to the documentation: rows of one topic go in together. What
the grown index finds is compared, in turns, with an index of the same engine built of all rows at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import corpus
from benchmarks.peers.process import PeerError, PeerProcess
from benchmarks.recall import reached_within, recall_of
from benchmarks.tables import markdown

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROWN = 131_072
_SINGLE = 1_000  # rows inserted one a call, to see the slowest; the others go 32 a call
_DELETED = 0.2
_NEAREST = 10
_QUERIES = 500


def grow(
    whole: corpus.Corpus, engines: Sequence[str], *, folder: Path, rounds: int, rows: int
) -> dict[str, Any]:
    """Grow, compare and delete with each engine. Returns the figures."""
    order, first_born = drift_order(whole.topics[:rows])
    vectors = whole.vectors[:rows][order]
    exact = corpus.exact_neighbours(vectors, whole.queries[:_QUERIES], count=4 * _NEAREST)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", whole.queries[:_QUERIES])
    figures: dict[str, Any] = {"rows": rows, "rows_before": first_born, "engines": {}}
    for name in engines:
        try:
            figures["engines"][name] = _one(name, folder, exact, first_born, rounds)
        except PeerError as error:
            figures["engines"][name] = {"name": name, "error": str(error)}
            print(f"{name}: {error}", flush=True)
    _print(figures)
    return figures


def drift_order(topics: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
    """Rows so that topics come one after the other, with about half of the rows, mixed, before them.

    Topics are in a random order of seed 0. Returns the rows, and how many of them are those of the first half.
    """
    names = np.random.default_rng(0).permutation(np.unique(topics))
    born = np.empty(int(topics.max()) + 1, dtype=np.int64)
    born[names] = np.arange(len(names))
    sizes = np.bincount(topics, minlength=len(born))[names]
    old = (
        int(np.searchsorted(np.cumsum(sizes), len(topics) / 2)) + 1
    )  # topics that are there from the beginning
    turn = np.where(born[topics] < old, 0, born[topics])
    return np.argsort(turn, kind="stable"), int(sizes[:old].sum())


def _one(name: str, folder: Path, exact: NDArray[np.int32], first_born: int, rounds: int) -> dict[str, Any]:
    rows = int(np.load(folder / "vectors.npy", mmap_mode="r").shape[0])
    grown = _process(name, folder, "grown")
    try:
        print(f"{grown.about['name']}: growing ...", flush=True)
        grown.ask("build", rows=first_born)
        figures = {"name": grown.about["name"], **_inserted(grown, first_born, rows)}
        fresh = _process(name, folder, "fresh")
        try:
            fresh.ask("build", rows=rows)
            figures |= _compared({"grown": grown, "fresh": fresh}, exact, rounds)
        finally:
            fresh.close()
        if grown.about["deletes"]:
            figures["deletes"] = _deleted(grown, exact, rows)
    finally:
        grown.close()
        shutil.rmtree(folder / "grown" / name, ignore_errors=True)
        shutil.rmtree(folder / "fresh" / name, ignore_errors=True)
    return figures


def _process(name: str, folder: Path, kind: str) -> PeerProcess:
    shutil.rmtree(folder / kind / name, ignore_errors=True)
    (folder / kind).mkdir(exist_ok=True)
    return PeerProcess(
        name,
        vectors=folder / "vectors.npy",
        queries=folder / "queries.npy",
        folder=folder / kind / name,
        threads=1,
    )


def _inserted(grown: PeerProcess, first: int, rows: int) -> dict[str, Any]:
    single = grown.ask("insert", first=first, count=_SINGLE, a_call=1, most_s=60.0)
    at = first + single["inserted"]
    bulk = grown.ask("insert", first=at, count=rows - at, a_call=32, most_s=1e9)
    return {
        "insert_p50_ms": float(np.median(single["seconds"])) * 1_000,
        "insert_p99_ms": float(np.quantile(single["seconds"], 0.99)) * 1_000,
        "inserts_s": bulk["inserted"] / sum(bulk["seconds"]),
        "inserts_s_with_upkeep": bulk["inserted"] / (sum(bulk["seconds"]) + bulk["beside"]),
        "slowest_call_ms": max(bulk["seconds"]) * 1_000,
    }


def _compared(processes: dict[str, PeerProcess], exact: NDArray[np.int32], rounds: int) -> dict[str, Any]:
    """Recall and cost as grown, and after the engine's own tidying, beside the index built at once."""
    figures: dict[str, Any] = {}
    for process in processes.values():
        process.ask("one_core")
    figures["as grown"] = _points(processes, exact, rounds)
    figures["tidy_s"] = processes["grown"].ask("tidy")["seconds"]
    figures["tidied"] = _points(processes, exact, rounds)
    return figures


def _points(
    processes: dict[str, PeerProcess], exact: NDArray[np.int32], rounds: int
) -> dict[str, list[dict[str, float]]]:
    taken: dict[tuple[str, int], list[float]] = {}
    recall: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for kind, process in processes.items():
            for effort in process.about["efforts"]:
                answer = _search(process, effort)
                taken.setdefault((kind, effort), []).extend(answer["seconds"])
                recall[kind, effort] = recall_of(answer["rows"], exact[:, :_NEAREST])
    return {
        kind: [
            {
                "effort": effort,
                "recall": recall[kind, effort],
                "p50_ms": float(np.median(taken[kind, effort])) * 1_000,
            }
            for effort in process.about["efforts"]
        ]
        for kind, process in processes.items()
    }


def _search(process: PeerProcess, effort: int) -> dict[str, Any]:
    return process.ask("search", effort=effort, first=0, count=_QUERIES, nearest=_NEAREST, most_s=1.0)


def _deleted(grown: PeerProcess, exact: NDArray[np.int32], rows: int) -> dict[str, Any]:
    """Take out a fifth of all rows, one a call for the first 500; what is still found of them must be nothing."""
    gone = np.random.default_rng(1).permutation(rows)[: int(rows * _DELETED)]
    single = grown.ask("delete", rows=gone[:500].tolist(), a_call=1)["seconds"]
    grown.ask("delete", rows=gone[500:].tolist(), a_call=500)
    effort = grown.about["efforts"][-1]
    found = _search(grown, effort)["rows"]
    out = set(gone.tolist())
    left = np.asarray([[row for row in wanted if row not in out][:_NEAREST] for wanted in exact.tolist()])
    return {
        "delete_p50_ms": float(np.median(single)) * 1_000,
        "delete_p99_ms": float(np.quantile(single, 0.99)) * 1_000,
        "still_found": sum(len(out.intersection(each)) for each in found),
        "recall_at_dearest": recall_of(found, left),
    }


def _print(figures: dict[str, Any]) -> None:
    print(
        f"\nGrown from {figures['rows_before']:,} to {figures['rows']:,} rows, topic after topic; recall at 1 ms\n"
    )
    rows = [_row(each) for each in figures["engines"].values() if "error" not in each]
    print(markdown(_HEADER, rows))


_HEADER = (
    "engine", "inserts/s, 32 a call", "with upkeep", "one a call, p50 / p99 ms", "slowest call, ms", "as grown",
    "tidied", "tidying, s", "built at once", "delete, p50 / p99 ms", "deleted rows still found",
    "recall after deletes, most effort",
)  # fmt: skip


def _row(each: dict[str, Any]) -> list[object]:
    deletes = each.get("deletes")
    return [
        each["name"],
        each["inserts_s"],
        each["inserts_s_with_upkeep"],
        f"{each['insert_p50_ms']:.3g} / {each['insert_p99_ms']:.3g}",
        each["slowest_call_ms"],
        reached_within(each["as grown"]["grown"], 1.0),
        reached_within(each["tidied"]["grown"], 1.0),
        each["tidy_s"],
        reached_within(each["tidied"]["fresh"], 1.0),
        f"{deletes['delete_p50_ms']:.3g} / {deletes['delete_p99_ms']:.3g}" if deletes else None,
        deletes["still_found"] if deletes else None,
        deletes["recall_at_dearest"] if deletes else None,
    ]
