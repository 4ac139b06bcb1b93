"""`trieflow bench trie`: one query's constrained decode over all four levels, beside what others do.

Ids of 16 / 256 / 4,096 / 65,536 codes, uneven as Zipf says; log probabilities are given, so neither a model nor its
output layer is in the figures. All decoders answer the same questions in turns in one run, on one thread, and find
the same ids (`tests/unit/test_bench_tries.py`). Nothing is said about recall: the ids have no meaning.
"""

from __future__ import annotations

import argparse
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.tables import keep, markdown
from benchmarks.timing import Timing, in_turns, timed_calls
from benchmarks.tries.made_ids import LEVEL_SIZES, made_ids, made_scores
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.tries.contract import Scores, TrieDecoder

BEAMS = (5, 10, 50)
BATCHES = (1, 8, 32)
INSERTS_A_CALL = (1, 32, 256)
INSERTS_A_SECOND = (0, 278, 5_000, 50_000)
_QUESTIONS = 16  # different score tables, asked in a circle
_HELD_BACK = 400_000  # ids to insert
_MICROSECOND = 1e-6


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it all. Writes `benchmarks/results/trie.json` with `--keep`, a part for each number of ids."""
    parser = argparse.ArgumentParser(prog="trieflow bench trie", description=__doc__)
    parser.add_argument(
        "--ids", type=int, nargs="+", default=[100_000, 1_000_000], help="how many (default %(default)s)"
    )
    parser.add_argument(
        "--dictionary-up-to",
        type=int,
        default=1_000_000,
        help="ids; it takes about 1 KB each (default %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each decoder (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of one turn (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/trie.json")
    options = parser.parse_args(list(arguments))
    _one_thread()
    for count in options.ids:
        figures = _measure(count, options)
        if options.keep:
            print(f"kept in {keep('trie', f'{count} ids', figures)}")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _measure(count: int, options: argparse.Namespace) -> dict[str, Any]:
    ids = made_ids(count + _HELD_BACK, seed=0)
    held, extra = ids[:count], ids[count:]
    print(f"\n## {count:,} ids; nodes by level: {_nodes(held)}\n")
    decoders = _made(held, with_dictionary=count <= options.dictionary_up_to)
    figures: dict[str, Any] = {"nodes": _nodes(held), "memory": _memory(decoders, count)}
    figures["decode"] = _decode(decoders, options)
    figures["insert"] = _insert(decoders, extra)
    figures["beside_inserts"] = _beside_inserts(decoders, extra[100_000:])
    return figures


def _nodes(ids: NDArray[np.int64]) -> list[int]:
    keys = np.zeros(len(ids), dtype=np.int64)
    counts = []
    for level, size in enumerate(LEVEL_SIZES):
        keys = keys * size + ids[:, level]
        counts.append(len(np.unique(keys)))
    return counts


def _made(ids: NDArray[np.int64], *, with_dictionary: bool) -> dict[str, TrieDecoder]:
    from benchmarks.tries.dictionary import DictionaryTrie
    from benchmarks.tries.live_trie import Live
    from benchmarks.tries.padded_rows import PaddedRows
    from benchmarks.tries.sorted_keys import SortedKeys

    kinds: list[Callable[..., TrieDecoder]] = [Live, PaddedRows, SortedKeys]
    if with_dictionary:
        kinds.append(DictionaryTrie)
    made: dict[str, TrieDecoder] = {}
    for kind in kinds:
        started = time.perf_counter()
        decoder = kind(ids, LEVEL_SIZES)
        made[decoder.name] = decoder
        print(f"built {decoder.name}: {time.perf_counter() - started:.2f} s", flush=True)
    gc.freeze()  # millions of small dictionaries: their collection is not what is measured
    return made


def _memory(decoders: dict[str, TrieDecoder], count: int) -> dict[str, float]:
    bytes_each = {name: decoder.nbytes / count for name, decoder in decoders.items()}
    print("\n" + markdown(["bytes an id", *bytes_each], [["", *bytes_each.values()]]))
    return bytes_each


# -- one query ----------------------------------------------------------------------------------------------


def _decode(decoders: dict[str, TrieDecoder], options: argparse.Namespace) -> list[dict[str, Any]]:
    cells, rows = [], []
    for batch in BATCHES:
        questions = [made_scores(batch, seed=seed) for seed in range(_QUESTIONS)]
        for beam in BEAMS:
            calls = {name: _asking(decoder, questions, beam) for name, decoder in decoders.items()}
            timings = in_turns(calls, rounds=options.rounds, seconds=options.seconds)
            for name, timing in timings.items():
                summary = timing.summary(unit_s=_MICROSECOND, per_call=batch)
                cells.append({"decoder": name, "beam": beam, "batch": batch, "us": summary})
            rows.append(
                [f"batch {batch}, beam {beam}", *(_cell(timing, batch) for timing in timings.values())]
            )
            print(rows[-1], flush=True)
    print("\nµs a query: p50 (lowest – highest round), p99\n")
    print(markdown(["", *decoders], rows))
    return cells


def _asking(decoder: TrieDecoder, questions: Sequence[Scores], beam: int) -> Callable[[int], object]:
    return lambda number: decoder.decode(questions[number % len(questions)], beam=beam)


def _cell(timing: Timing, batch: int = 1) -> str:
    us = {
        name: f"{value:,.0f}" for name, value in timing.summary(unit_s=_MICROSECOND, per_call=batch).items()
    }
    return f"{us['p50']} ({us['lowest_round']} – {us['highest_round']}), {us['p99']}"


# -- inserts ------------------------------------------------------------------------------------------------


def _insert(decoders: dict[str, TrieDecoder], extra: NDArray[np.int64]) -> list[dict[str, Any]]:
    cells, rows = [], []
    for size in INSERTS_A_CALL:
        row: list[object] = [f"{size} a call"]
        batches = _batches(extra, size)
        for name, decoder in decoders.items():
            decoder.insert(next(batches))
            taken = timed_calls(_inserting(decoder, batches), seconds=1.0, most=60)
            summary = Timing([taken]).summary(unit_s=_MICROSECOND)
            cells.append({"decoder": name, "ids_a_call": size, "us_a_call": summary})
            row.append(f"{summary['p50']:,.1f}, {summary['p99']:,.1f}")
        rows.append(row)
    print("\nµs a call of insert: p50, p99 (nothing is found before the call returns)\n")
    print(markdown(["", *decoders], rows))
    return cells


def _inserting(decoder: TrieDecoder, batches: Iterator[NDArray[np.int64]]) -> Callable[[int], object]:
    return lambda _: decoder.insert(next(batches))


def _batches(extra: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Ids that no decoder has had, never the same twice for one decoder; each decoder has them in this order."""
    order = np.random.default_rng(size).permutation(100_000)
    return (extra[order[start : start + size]] for start in range(0, len(order) - size, size))


def _beside_inserts(decoders: dict[str, TrieDecoder], extra: NDArray[np.int64]) -> list[dict[str, Any]]:
    """One query at a time in this thread while another puts in ids."""
    cells, rows = [], []
    questions = [made_scores(1, seed=seed) for seed in range(_QUESTIONS)]
    for name, decoder in decoders.items():
        feeder = _Feeder(decoder, extra)
        for beam in BEAMS:
            row: list[object] = [name, f"beam {beam}"]
            for rate in INSERTS_A_SECOND:
                with feeder.at(rate):
                    timing = Timing([timed_calls(_asking(decoder, questions, beam), seconds=1.5)])
                us = timing.summary(unit_s=_MICROSECOND)
                cells.append(
                    {"decoder": name, "beam": beam, "inserts_s": rate, "reached_s": feeder.reached, "us": us}
                )
                row.append(f"{us['p50']:,.0f}, {us['p99']:,.0f}" + _reached(feeder.reached, rate))
            rows.append(row)
            print(row, flush=True)
    print("\nµs a query, batch 1: p50, p99 while ids are put in\n")
    print(markdown(["", "", *(f"{rate:,} inserts/s" for rate in INSERTS_A_SECOND)], rows))
    return cells


def _reached(reached: float, rate: int) -> str:
    return "" if reached >= 0.95 * rate else f" (only {reached:,.0f} inserts/s)"


class _Feeder:
    """Puts ids in at a rate, in another thread."""

    def __init__(self, decoder: TrieDecoder, extra: NDArray[np.int64]) -> None:
        self._decoder = decoder
        self._extra = extra
        self._next = 0
        self._rate = 0
        self._stop = threading.Event()
        self.reached = 0.0

    def at(self, rate: int) -> _Feeder:
        self._rate = rate
        return self

    def __enter__(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._feed, name="feeder")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _feed(self) -> None:
        started, first = time.perf_counter(), self._next
        while self._rate and not self._stop.wait(0.001):
            due = first + int((time.perf_counter() - started) * self._rate)
            while self._next < min(due, len(self._extra)) and not self._stop.is_set():
                last = min(due, self._next + 256)
                self._decoder.insert(self._extra[self._next : last])
                self._next = last
        self.reached = (self._next - first) / (time.perf_counter() - started)
