"""`trieflow bench index`: recall@10 against cost on real vectors, beside other engines, in one run.

Every engine runs in a process of its own with all its threads on one core, one query at a time; the engines take
turns within each round. An index is built once (`--build`, both cores) and kept in the folder; memory is that of
the process after opening it and answering queries. Recall is what is retained of the exact answer over the same
vectors. `--grow` lets an index of half of the topics grow by the other half, topic after topic, and then takes
rows out.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import corpus
from benchmarks.index_growth import GROWN, grow
from benchmarks.peers.process import PeerError, PeerProcess
from benchmarks.peers.registry import PEERS
from benchmarks.recall import cheapest_at, reached_within, recall_of
from benchmarks.tables import keep, markdown
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEAREST = 10
HELD_BACK = 8_000  # rows that are not in the built indexes, to be inserted
_INSERTED = 2_000
_TURN_S = 0.5


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Build what is missing, measure, print tables. Writes `benchmarks/results/index.json` with `--keep`."""
    options = _options(arguments)
    whole = corpus.load(options.folder)
    if options.grow:
        figures = grow(
            whole,
            options.engines,
            folder=options.folder / "growing",
            rounds=options.rounds,
            rows=options.rows or GROWN,
        )
        part = f"growth to {figures['rows']} rows"
    else:
        rows = options.rows or len(whole.vectors) - HELD_BACK
        built = {name: _build(name, options, rows) for name in options.engines}
        if options.build:
            return
        figures = _measure(whole, rows, {name: b for name, b in built.items() if "error" not in b}, options)
        figures["not_available"] = {name: b["error"] for name, b in built.items() if "error" in b}
        part = f"{rows} rows"
    if options.keep:
        print(f"kept in {keep('index', part, figures)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench index", description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME",
                        help=f"which (default: all of {', '.join(PEERS)})")  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of corpus and indexes (default %(default)s)"
    )
    parser.add_argument("--build", action="store_true", help="only build what is missing")
    parser.add_argument("--grow", action="store_true", help="drift and deletes instead")
    parser.add_argument("--rows", type=int, help=f"the first ones (default: all but {HELD_BACK:,} to insert)")
    parser.add_argument(
        "--queries", type=int, default=500, help="at each operating point (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each engine (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/index.json")
    return parser.parse_args(list(arguments))


# -- building -----------------------------------------------------------------------------------------------


def _build(name: str, options: argparse.Namespace, rows: int) -> dict[str, Any]:
    """Build an index where there is none; what building took is kept beside it."""
    indexes = index_folder(options.folder, rows)
    indexes.mkdir(exist_ok=True)
    note, folder = indexes / f"{name}.built.json", indexes / name
    if note.exists():
        return corpus.read_json(note)
    shutil.rmtree(folder, ignore_errors=True)  # a build that was stopped
    try:
        with engine(name, options.folder, folder) as process:
            print(f"building {process.about['name']} ...", flush=True)
            built = process.ask("build", rows=rows)
    except PeerError as error:
        print(f"{name}: {error}", flush=True)
        return {"error": str(error)}
    corpus.write_json(note, built)
    pace = rows / built["seconds"]
    print(f"{name}: {built['seconds']:,.0f} s, {pace:,.0f} rows/s, {built['disk_mb']:,.0f} MB on disk")
    return built


def index_folder(corpus_folder: Path, rows: int) -> Path:
    """Where the indexes of the first `rows` rows are kept."""
    return corpus_folder / f"indexes-{rows}"


@contextmanager
def engine(
    name: str, corpus_folder: Path, folder: Path, *, threads: int | None = None
) -> Iterator[PeerProcess]:
    """A process with one engine."""
    process = PeerProcess(
        name,
        vectors=corpus_folder / "corpus256.f32.npy",
        queries=corpus_folder / "queries256.f32.npy",
        folder=folder,
        threads=threads,
    )
    try:
        yield process
    finally:
        process.close()


@contextmanager
def opened(name: str, corpus_folder: Path, *, rows: int, threads: int | None = None) -> Iterator[PeerProcess]:
    """An engine with its index open: with a copy of it, for some engines write into what they open."""
    indexes = index_folder(corpus_folder, rows)
    kept, copy = indexes / name, indexes / f"{name}.open"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(kept, copy)
    try:
        with engine(name, corpus_folder, copy, threads=threads) as process:
            taken = process.ask("open")["seconds"]
            print(f"opened {process.about['name']} in {taken:.1f} s", flush=True)
            yield process
    finally:
        shutil.rmtree(copy, ignore_errors=True)


# -- recall against cost ------------------------------------------------------------------------------------


@dataclass
class _Cell:
    """One engine at one effort: seconds of each query by round, and the rows it found for each."""

    rounds: list[list[float]] = field(default_factory=list)
    recall: float = 0.0
    queries: int = 0

    def figures(self, effort: int) -> dict[str, float]:
        medians = [float(np.median(taken)) * 1_000 for taken in self.rounds]
        everything = np.concatenate(self.rounds) * 1_000
        return {
            "effort": effort,
            "recall": self.recall,
            "p50_ms": float(np.median(everything)),
            "p99_ms": float(np.quantile(everything, 0.99)),
            "lowest_round_ms": min(medians),
            "highest_round_ms": max(medians),
            "queries": self.queries,
        }


def _measure(
    whole: corpus.Corpus, rows: int, built: dict[str, dict[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    figures: dict[str, Any] = {"rows": rows, "engines": {}}
    exact = corpus.exact_neighbours(
        np.array(whole.vectors[:rows]), whole.queries[: options.queries], count=NEAREST
    )
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(opened(name, options.folder, rows=rows, threads=1)) for name in built
        }
        for name, process in processes.items():
            process.ask("one_core")
            figures["engines"][name] = {**process.about, "build": built[name]}
        for name, points in _in_turns(processes, exact, options).items():
            figures["engines"][name]["points"] = points
        for name, process in processes.items():
            figures["engines"][name]["memory_mb"] = process.ask("memory")["mb"]
            figures["engines"][name] |= _changes(process, rows)
    _print(figures)
    return figures


def _in_turns(
    processes: dict[str, PeerProcess], exact: NDArray[np.int32], options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    cells = {name: {effort: _Cell() for effort in each.about["efforts"]} for name, each in processes.items()}
    for number in range(options.rounds + 1):
        for name, process in processes.items():
            for effort, cell in cells[name].items():
                asked = {"effort": effort, "first": 0, "count": options.queries, "nearest": NEAREST}
                answer = process.ask("search", **asked, most_s=_TURN_S)
                if number:  # the first turn warms what has to be read from disk
                    cell.rounds.append(answer["seconds"])
                    cell.queries = len(answer["rows"])
                    cell.recall = recall_of(answer["rows"], exact)
        print(f"round {number} of {options.rounds} is done", flush=True)
    return {
        name: [cell.figures(effort) for effort, cell in by_effort.items()]
        for name, by_effort in cells.items()
    }


def _changes(process: PeerProcess, rows: int) -> dict[str, Any]:
    """Cost of inserts, one and 32 a call, and of deletes, on one core."""
    changes: dict[str, Any] = {}
    at = rows
    for a_call in (1, 32):
        answer = process.ask("insert", first=at, count=_INSERTED, a_call=a_call, most_s=5.0)
        at += answer["inserted"]
        changes[f"insert_{a_call}"] = _of_calls(answer["seconds"], answer["inserted"])
    if process.about["deletes"]:
        taken = process.ask("delete", rows=list(range(rows, rows + 200)), a_call=1)["seconds"]
        changes["delete_1"] = _of_calls(taken, len(taken))
    return changes


def _of_calls(seconds: Sequence[float], rows: int) -> dict[str, float]:
    return {
        "rows_s": rows / sum(seconds),
        "p50_ms": float(np.median(seconds)) * 1_000,
        "p99_ms": float(np.quantile(seconds, 0.99)) * 1_000,
        "rows": rows,
    }


# -- tables -------------------------------------------------------------------------------------------------


def _print(figures: dict[str, Any]) -> None:
    engines = figures["engines"].values()
    print(f"\nrecall@{NEAREST} / p50 ms, one core, {figures['rows']:,} rows\n")
    rows = [
        [
            each["name"],
            " · ".join(f"{point['recall']:.3f} / {point['p50_ms']:.2f}" for point in each["points"]),
            reached_within(each["points"], 1.0),
            cheapest_at(each["points"], 0.95),
            cheapest_at(each["points"], 0.99),
        ]
        for each in engines
    ]
    print(markdown(["engine", "operating points", "recall at 1 ms", "ms for 0.95", "ms for 0.99"], rows))
    print()
    print(markdown(_CHANGES, [_change_row(each) for each in engines]))


_CHANGES = (
    "engine", "built, s (2 cores)", "memory, MB", "inserts/s, 1 a call", "p99 ms", "inserts/s, 32 a call",
    "delete, p50 ms",
)  # fmt: skip


def _change_row(each: dict[str, Any]) -> list[object]:
    return [
        each["name"],
        each["build"]["seconds"],
        each["memory_mb"],
        each["insert_1"]["rows_s"],
        each["insert_1"]["p99_ms"],
        each["insert_32"]["rows_s"],
        each["delete_1"]["p50_ms"] if "delete_1" in each else None,
    ]
