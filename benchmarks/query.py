"""`trieflow bench query`: a query's way through a searcher of many documents, while 278 documents a second change.

In one process, of the searcher's own objects: the start from disk by stage, memory above interpreter and encoder,
then 20 queries a second, alone and beside changes that are applied as the replica does. With `--kafka` also through
Kafka: one indexer and one searcher on the same folder, round trips seen by the client. No recall is claimed: of
benchmarks/query_documents.py. The first run fills the folder, which takes minutes; later ones start from it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.tables import keep, markdown
from streams.settings import Settings

DOCUMENTS = 100_000
CHANGES_S = 278.0
Figures = dict[str, Any]


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Fill what is missing, measure, print tables. Writes `benchmarks/results/query.json` with `--keep`."""
    options = _options(arguments)
    folder = options.folder or options.corpus / f"query-{options.documents}"
    request = {
        "data": str((folder / "data").absolute()),
        "documents": str(folder.absolute()),
        "count": options.documents,
        "corpus": str(options.corpus.absolute()),
        "encoder": settings.encoder,
        "tower": options.tower,
        "alone_s": options.alone,
        "seconds": options.seconds,
        "changes_s": options.changes,
    }
    figures: Figures = {"encoder": options.tower or settings.encoder, "load_average": os.getloadavg()[0]}
    built = folder / "built.json"
    if not built.exists():
        corpus.write_json(built, in_a_process({**request, "do": "build"}))
    figures["built"] = corpus.read_json(built)
    _print_built(figures["built"])
    if options.build:
        return
    figures["process"] = in_a_process({**request, "do": "measure"})
    _print_process(figures["process"])
    if options.kafka:
        from benchmarks.query_kafka import through_kafka

        figures["kafka"] = through_kafka(request)
        _print_kafka(figures["kafka"])
    if options.keep:
        part = f"{options.documents} documents" + (f", {options.tower}" if options.tower else "")
        print(f"kept in {keep('query', part, figures)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench query", description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="(default %(default)s)")
    parser.add_argument("--folder", type=Path, help="default: query-<documents> in the folder of the corpus")
    parser.add_argument("--corpus", type=Path, default=corpus.FOLDER, help="folder (default %(default)s)")
    parser.add_argument("--build", action="store_true", help="only fill the folder")
    parser.add_argument("--kafka", action="store_true", help="through Kafka too")
    parser.add_argument(
        "--tower",
        metavar="NAME",
        help="another encoder whose time counts, in one process: benchmarks/query_tower.py",
    )
    parser.add_argument("--changes", type=float, default=CHANGES_S, help="a second (default %(default)s)")
    parser.add_argument("--alone", type=float, default=20.0, help="seconds without changes")
    parser.add_argument("--seconds", type=float, default=60.0, help="beside changes (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/query.json")
    return parser.parse_args(list(arguments))


def in_a_process(request: Mapping[str, Any]) -> Figures:
    """Let a fresh process do it. Raises SystemExit when it fails."""
    with tempfile.TemporaryDirectory(prefix="trieflow-bench-") as name:
        asked, answered = Path(name) / "request.json", Path(name) / "answer.json"
        corpus.write_json(asked, dict(request))
        command = [sys.executable, "-O", "-m", "benchmarks.query_process", str(asked), str(answered)]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{request['do']} failed")
        return corpus.read_json(answered)


# -- tables -------------------------------------------------------------------------------------------------

_MS = ("p50_ms", "p99_ms", "p999_ms", "max_ms", "n")


def print_times(title: str, times: Mapping[str, Mapping[str, float]]) -> None:
    """A table of quantiles, a line for each name."""
    rows = [[name, *(each[column] for column in _MS)] for name, each in times.items()]
    print(f"\n{markdown([title, *_MS], rows)}", flush=True)


def _print_built(built: Figures) -> None:
    print("\n" + markdown(["filled once", "seconds"], list(map(list, built["seconds"].items()))), flush=True)


def _print_process(found: Figures) -> None:
    print(f"\n{found['documents']:,} documents, {found['vectors']:,} vectors, {found['leaves']:,} leaves")
    stages = found["start, s"]
    rows = [
        [name, taken, found["memory_mb"].get(name), found["mapped_mb"].get(name)]
        for name, taken in stages.items()
    ]
    rows.append(["all", found["ready after, s"], found["above_runtime_mb"], found["mapped_above_runtime_mb"]])
    print("\n" + markdown(["start from disk", "seconds", "MB of its own", "MB of mapped files"], rows))
    parts = [[name, size] for name, size in found["parts_mb"].items()]
    parts += [[name, found[name]] for name in ("peak_above_runtime_mb", "above_runtime_after_queries_mb")]
    print("\n" + markdown(["memory", "MB"], parts))
    print_times("a query, alone", found["alone"])
    print_times(f"beside {found['changes_s']:.0f} changes/s", found["beside"])
    print_times("whole time, by what went on", found["beside by what went on"])
    print_times("what went on", found["what went on"])
    print_times("a batch of changes", found["changes"])
    print(f"\nlargest batch {found['largest_batch']}, moved {found['moved']}, behind at the end "
          f"{found['behind_at_the_end']}, hits {found['hits']}")  # fmt: skip


def _print_kafka(found: Figures) -> None:
    rows = [[name, value] for name, value in found.items() if not isinstance(value, dict)]
    print("\n" + markdown(["through Kafka", "figure"], rows))
    for name in ("alone", "beside"):
        print_times(f"through Kafka, {name}", found[name])
