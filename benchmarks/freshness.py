"""`trieflow bench freshness`: insert a row, then ask for it until it is found, beside other engines.

Real vectors; the index holds all of the corpus but the rows that are inserted. While rows go in one by one and are
asked for, another thread inserts at the rate of a million an hour and a third one asks 20 queries a second. Each
engine makes its rows visible by the call that its own documentation names.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.index import HELD_BACK, index_folder, opened
from benchmarks.peers.process import PeerError
from benchmarks.peers.registry import PEERS
from benchmarks.tables import keep, markdown
from benchmarks.timing import quantiles_ms
from streams.settings import Settings

INSERTS_S = 278.0
QUERIES_S = 20.0


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Measure each engine whose index was built. Writes `benchmarks/results/freshness.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench freshness", description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=list(PEERS), default=list(PEERS), metavar="NAME",
                        help=f"which (default: all of {', '.join(PEERS)})")  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of corpus and indexes (default %(default)s)"
    )
    parser.add_argument("--rows", type=int, help=f"the first ones (default: all but {HELD_BACK:,} to insert)")
    parser.add_argument("--probes", type=int, default=200, help="rows asked for (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/freshness.json")
    options = parser.parse_args(list(arguments))
    rows = options.rows or len(corpus.load(options.folder).vectors) - HELD_BACK
    figures: dict[str, Any] = {}
    for name in options.engines:
        if not (index_folder(options.folder, rows) / f"{name}.built.json").exists():
            print(
                f"{name}: no index; trieflow bench index --build --rows {rows} --engines {name}", flush=True
            )
            continue
        try:
            figures[name] = _one(name, options, rows)
        except PeerError as error:
            figures[name] = {"error": str(error)}
            print(f"{name}: {error}", flush=True)
    _print(figures)
    if options.keep:
        print(f"kept in {keep('freshness', f'{rows} rows', figures)}")


def _one(name: str, options: argparse.Namespace, rows: int) -> dict[str, Any]:
    with opened(name, options.folder, rows=rows) as process:
        efforts = process.about["efforts"]
        effort = efforts[len(efforts) // 2]
        process.ask(
            "search", effort=effort, first=0, count=200, nearest=10, most_s=5.0
        )  # reads what is on disk
        load = {"inserts_s": INSERTS_S, "queries_s": QUERIES_S, "most_s": 20.0}
        answer = process.ask("fresh", first=rows, probes=options.probes, effort=effort, **load)
    return {
        "name": process.about["name"],
        "visible_by": process.about["visible_by"],
        "effort": effort,
        "visible": quantiles_ms(answer["visible_s"]),
        "insert": quantiles_ms(answer["insert_s"]),
        "never": answer["never"],
        "inserted_s": answer["rows"] / answer["seconds"],
        "asked_s": answer["queries"] / answer["seconds"],
    }


def _print(figures: dict[str, Any]) -> None:
    rows = [
        [
            each["name"],
            each["visible_by"],
            f"{each['visible']['p50_ms']:.3g} / {each['visible']['p99_ms']:.3g}",
            f"{each['insert']['p50_ms']:.3g} / {each['insert']['p99_ms']:.3g}",
            f"{each['never']} of {each['visible']['n']}",
            f"{each['inserted_s']:.0f} / {each['asked_s']:.0f}",
        ]
        for each in figures.values()
        if "error" not in each
    ]
    print(f"\nBeside {INSERTS_S:.0f} inserts/s and {QUERIES_S:.0f} queries/s\n")
    header = (
        "engine",
        "visible when",
        "found after ms, p50 / p99",
        "of it the insert",
        "never found",
        "beside it, per s",
    )
    print(markdown(header, rows))
