"""`trieflow bench lexical`: the lexical index at a million short documents, alone and while it takes new ones.

Documents are titles of up to eight words: pieces of the sentences of the real corpus, in a random order of seed 0.
Queries are one to four words in a row from titles that are not in the index.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from pyroaring import BitMap

from benchmarks import corpus
from benchmarks.corpus_sentences import distinct_sentences, sources
from benchmarks.tables import keep, markdown
from benchmarks.timing import quantiles_ms
from state.languages import language_of
from state.lexical import LexicalDocument, LexicalIndex
from streams.settings import Settings

DOCUMENTS = 1_000_000
SPARE = 20_000
"""Titles for queries and for documents that come later."""
QUERIES = 1_000
BATCH = 256
_WORDS = 8
_MIB = 2**20
Figures = dict[str, Any]


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Measure. Writes `benchmarks/results/lexical.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench lexical", description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER / "lexical", help="of titles and index")
    parser.add_argument("--seconds", type=float, default=60.0, help="of queries beside changes")
    parser.add_argument("--rate", type=float, default=500.0, help="changes a second")
    parser.add_argument(
        "--reuse", action="store_true", help="the index that an earlier run left in the folder"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/lexical.json")
    options = parser.parse_args(list(arguments))
    titles = _titles(options.folder, options.documents + SPARE)
    language_of("load the model before memory is measured")
    figures: Figures = {"documents": options.documents, "load_average": os.getloadavg()[0]}
    index = _filled(options, titles, figures)
    spare = list(itertools.islice(_lines(titles), options.documents, options.documents + SPARE))
    queries = _queries(spare)
    figures["quiet"] = _quiet(index, queries, spare)
    figures["filtered"] = _filtered(index, queries[: QUERIES // 5], options.documents)
    figures["beside"] = _beside(index, queries, spare, options)
    index.close()
    figures["opened"] = _opened(options)
    _print(figures)
    if options.keep:
        print(f"kept in {keep('lexical', 'million', figures)}")


def _titles(folder: Path, count: int) -> Path:
    """A file of so many titles, one a line."""
    path = folder / f"titles-{count}.txt"
    if path.exists():
        return path
    pieces = []
    for _, sentence in distinct_sentences(sources()):
        words = sentence.split()
        pieces += [
            " ".join(words[start : start + _WORDS])
            for start in range(0, max(1, len(words) - _WORDS // 2), _WORDS)
        ]
    random.Random(0).shuffle(pieces)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(itertools.islice(itertools.cycle(pieces), count)) + "\n", encoding="utf-8")
    print(f"{len(pieces):,} different titles")
    return path


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from map(str.rstrip, file)


def _queries(titles: Sequence[str]) -> list[str]:
    chosen = random.Random(0)
    queries = []
    for words in map(str.split, chosen.sample(titles, QUERIES)):
        count = chosen.randint(1, 4)
        start = chosen.randrange(max(1, len(words) - count + 1))
        queries.append(" ".join(words[start : start + count]))
    return queries


def _filled(options: argparse.Namespace, titles: Path, figures: Figures) -> LexicalIndex:
    """Put all documents in, as fast as they are taken."""
    folder = options.folder / "index"
    if options.reuse:
        return _reopened(folder, options.documents)
    before, peak = _memory(), 0.0
    index = LexicalIndex(folder)
    started, cpu = time.perf_counter(), time.process_time()
    lines = itertools.islice(_lines(titles), options.documents)
    for first in range(0, options.documents, BATCH):
        batch = [
            LexicalDocument(f"d{slot}", slot, title=title)
            for slot, title in enumerate(itertools.islice(lines, BATCH), first)
        ]
        index.apply(batch, positions={0: first + len(batch)})
        peak = max(peak, sum(_memory()) - sum(before)) if first % (40 * BATCH) == 0 else peak
    assert index.flush(timeout_s=600)
    seconds = time.perf_counter() - started
    after = _memory()
    figures["filling"] = {
        "documents_s": options.documents / seconds,
        "cpu_us": (time.process_time() - cpu) / options.documents * 1e6,
        "peak_mib": peak,
        "anonymous_mib": after[0] - before[0],
        "file_mib": after[1] - before[1],
        "disk_mb": sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
    }
    return index


def _reopened(folder: Path, documents: int) -> LexicalIndex:
    index = LexicalIndex(folder)
    index.attach((f"d{slot}", slot) for slot in range(documents))
    return index


def _quiet(index: LexicalIndex, queries: Sequence[str], titles: Sequence[str]) -> Figures:
    by_length = {f"{n} words": [q for q in queries if len(q.split()) == n] for n in (1, 2, 3, 4)}
    eight = [title for title in titles if len(title.split()) == _WORDS][: QUERIES // 2]
    return {
        "1 to 4 words, k 10": _times(lambda q: index.search(q, 10), queries),
        "1 to 4 words, k 100": _times(lambda q: index.search(q, 100), queries),
        **{
            f"{name}, k 100": _times(lambda q: index.search(q, 100), same) for name, same in by_length.items()
        },
        "8 words, k 100": _times(lambda q: index.search(q, 100), eight),
    }


def _filtered(index: LexicalIndex, queries: Sequence[str], documents: int) -> Figures:
    chosen = random.Random(0)
    figures = {}
    for share in (0.001, 0.01, 0.02, 0.03, 0.1, 0.5):
        allowed = BitMap(chosen.sample(range(documents), int(documents * share)))
        figures[f"{share:g}"] = _times(lambda q, among=allowed: index.search(q, 100, allowed=among), queries)
    return figures


def _beside(
    index: LexicalIndex, queries: Sequence[str], titles: Sequence[str], options: argparse.Namespace
) -> Figures:
    """Half of the changes are new documents, half take the place of old ones; 20 queries a second."""
    stopping = threading.Event()
    behind: list[int] = []

    def change() -> None:
        chosen, started, count = random.Random(1), time.perf_counter(), 0
        while not stopping.is_set():
            batch = []
            for number in range(count, count + 10):
                slot = options.documents + number if number % 2 else chosen.randrange(options.documents)
                batch.append(LexicalDocument(f"d{slot}", slot, title=titles[number % len(titles)]))
            count += len(batch)
            index.apply(batch, positions={0: options.documents + count})
            behind.append(index.behind)
            stopping.wait(max(0.0, started + count / options.rate - time.perf_counter()))

    writer = threading.Thread(target=change)
    cpu, started = time.process_time(), time.perf_counter()
    writer.start()
    times = []
    for query in itertools.cycle(queries):
        begun = time.perf_counter()
        if begun - started > options.seconds:
            break
        index.search(query, 100)
        times.append(time.perf_counter() - begun)
        time.sleep(0.05)
    stopping.set()
    writer.join()
    memory = _memory()
    return {
        **quantiles_ms(times),
        "cores": (time.process_time() - cpu) / options.seconds,
        "changes_s": len(behind) * 10 / options.seconds,
        "behind_most": max(behind),
        "resident_mib": sum(memory),
    }


def _opened(options: argparse.Namespace) -> Figures:
    started = time.perf_counter()
    index = _reopened(options.folder / "index", options.documents)
    seconds = time.perf_counter() - started
    index.search("the first query", 10)
    index.close()
    return {"seconds": seconds}


def _times(search: Callable[[str], object], queries: Sequence[str]) -> Figures:
    """By the clock, and the median of the thread's own CPU time, which other work on the machine leaves alone."""
    for query in queries[:50]:
        search(query)
    times, own = [], []
    for query in queries:
        started, used = time.perf_counter(), time.thread_time()
        search(query)
        times.append(time.perf_counter() - started)
        own.append(time.thread_time() - used)
    return {**quantiles_ms(times), "cpu_p50_ms": quantiles_ms(own)["p50_ms"]}


def _memory() -> tuple[float, float]:
    """Resident MiB of this process: of its own, and of mapped files."""
    info = psutil.Process().memory_full_info()
    shared = getattr(info, "shared", 0)
    return (info.rss - shared) / _MIB, shared / _MIB


def _print(figures: Figures) -> None:
    for name in ("filling", "opened"):
        if name in figures:
            print(f"{name}: " + ", ".join(f"{key} {value:,.4g}" for key, value in figures[name].items()))
    rows = [[name, *times.values()] for name, times in figures["quiet"].items()]
    rows += [
        [f"{float(share):.1%} allowed, k 100", *times.values()]
        for share, times in figures["filtered"].items()
    ]
    print(markdown(["milliseconds", *next(iter(figures["quiet"].values()))], rows))
    print("beside: " + ", ".join(f"{key} {value:,.4g}" for key, value in figures["beside"].items()))
