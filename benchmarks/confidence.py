"""`trieflow bench confidence`: is it worth opening more leaves for queries whose leaves look wrong?

Real vectors, the tree alone. Half of the queries teach `agents/confidence.py` how large margins are, the other half
is measured: with what was opened at first, with twice as many leaves for queries of small margins, and with the
graph for those whose margins are small even then. Beside them the same tree with as many rows scored for all.
Needs the indexes of `trieflow bench index --rows N --engines trieflow-generative trieflow-dense --build`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.confidence import Confidence
from benchmarks import corpus
from benchmarks.index import index_folder
from benchmarks.peers.trieflow_dense import TrieflowDense
from benchmarks.peers.trieflow_generative import Generative
from benchmarks.tables import keep, markdown
from state.generative import Generated
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

NEAREST = 10
ROWS = 100_000
STARTS = (1_000, 2_000, 4_000)
SHARES = (0.1, 0.25, 0.5)
FIXED = (1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000)
EXPANSION = 96
_SHORTLIST = 64
_MEMBERS_A_LEAF = 16
_KIND = "text"


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Measure, print a table. Writes `benchmarks/results/confidence.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench confidence", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="the first ones (default %(default)s)")
    parser.add_argument("--queries", type=int, default=1_000, help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/confidence.json")
    options = parser.parse_args(list(arguments))
    whole = corpus.load(options.folder)
    tried = _Tried(whole, options.folder, rows=options.rows, queries=options.queries)
    fixed = [tried.fixed(members) for members in FIXED]
    figures = {
        "fixed": fixed,
        "policies": [tried.policy(members, share, fixed) for members in STARTS for share in SHARES],
    }
    print(json.dumps(figures) if options.json else _tables(figures))
    if options.keep:
        keep("confidence", f"{options.rows} rows", figures)


@dataclass
class _Sums:
    """Of some queries: right answers, rows scored, seconds."""

    right: list[float] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        return {
            "recall": float(np.mean(self.right)),
            "rows": float(np.mean(self.scored)),
            "mean_ms": 1_000 * float(np.mean(self.seconds)),
        }


class _Tried:
    def __init__(self, whole: corpus.Corpus, folder: Path, *, rows: int, queries: int) -> None:
        self._tree, self._graph = Generative(), TrieflowDense()
        for engine, name in ((self._tree, "trieflow-generative"), (self._graph, "trieflow-dense")):
            engine.open(index_folder(folder, rows) / name)
        self._queries = np.array(whole.queries[:queries])
        self._exact = corpus.exact_neighbours(np.array(whole.vectors[:rows]), self._queries, count=NEAREST)
        order = np.random.default_rng(0).permutation(len(self._queries))
        self._teaching, self._measured = order[: len(order) // 2], order[len(order) // 2 :]

    def fixed(self, members: int) -> dict[str, float]:
        """The same effort for all queries."""
        sums = _Sums()
        for number in self._measured:
            started = time.perf_counter()
            opened = self._opened(number, members)
            sums.seconds.append(time.perf_counter() - started)
            sums.right.append(self._recall(number, [opened]))
            sums.scored.append(opened.members)
        return sums.figures()

    def policy(self, members: int, share: float, fixed: Sequence[dict[str, float]]) -> dict[str, Any]:
        """Twice the effort for a share of the queries; and the graph for those that look wrong after that."""
        confidence = Confidence(share)
        for number in self._teaching:
            confidence.is_low(self._margin(number, [self._opened(number, members)]), kind=_KIND)
        sums, with_graph = _Sums(), _Sums()
        widened = asked = 0
        for number in self._measured:
            started = time.perf_counter()
            opened = [self._opened(number, members)]
            is_low = confidence.is_low(self._margin(number, opened), kind=_KIND)
            if is_low:
                opened.append(self._opened(number, members, skip=opened[0].opened))
                is_low = confidence.is_still_low(self._margin(number, opened), kind=_KIND)
                widened += 1
            by_tree = time.perf_counter() - started
            near = self._graph.search(self._queries[number], NEAREST, EXPANSION) if is_low else None
            both = time.perf_counter() - started
            asked += is_low
            self._take(sums, number, opened, by_tree)
            self._take(with_graph, number, opened, both, near=near)
        found = sums.figures()
        rows, recall = [[each[name] for each in fixed] for name in ("rows", "recall")]
        return {
            "start": members,
            "share": share,
            "widened": widened / len(self._measured),
            "asked": asked / len(self._measured),
            "tree": found,
            "with graph": with_graph.figures(),
            "fixed recall at these rows": float(np.interp(np.log(found["rows"]), np.log(rows), recall)),
        }

    def _take(
        self, sums: _Sums, number: int, opened: Sequence[Generated], seconds: float, near: Rows | None = None
    ) -> None:
        sums.seconds.append(seconds)
        sums.right.append(self._recall(number, opened, near))
        sums.scored.append(sum(each.members for each in opened))

    def _opened(self, number: int, members: int, *, skip: int = 0) -> Generated:
        return self._tree.generated(
            self._queries[number],
            leaves=members // _MEMBERS_A_LEAF,
            members=members,
            shortlist=_SHORTLIST,
            skip=skip,
        )

    def _margin(self, number: int, opened: Sequence[Generated]) -> float:
        """As `Searching` does."""
        scores = np.concatenate([each.scores for each in opened])
        best = np.concatenate([each.slots for each in opened])[np.argsort(-scores, kind="stable")[:NEAREST]]
        return float((self._tree.fused(best) @ self._queries[number]).min()) - opened[-1].unopened

    def _recall(self, number: int, opened: Sequence[Generated], near: Rows | None = None) -> float:
        slots = np.unique(np.concatenate([each.slots for each in opened]))
        rows = self._tree.best(slots, self._queries[number], NEAREST)
        if near is not None:
            rows = np.union1d(rows, near)
            rows = rows[np.argsort(-self._graph.scores(rows, self._queries[number]))[:NEAREST]]
        return float(np.isin(self._exact[number], rows).mean())


def _tables(figures: dict[str, Any]) -> str:
    fixed = [[each["rows"], each["recall"], each["mean_ms"]] for each in figures["fixed"]]
    rows = [
        [
            each["start"],
            each["share"],
            each["widened"],
            each["tree"]["rows"],
            each["tree"]["recall"],
            each["fixed recall at these rows"],
            each["tree"]["mean_ms"],
            each["asked"],
            each["with graph"]["recall"],
            each["with graph"]["mean_ms"],
        ]
        for each in figures["policies"]
    ]
    header = (
        "rows at first", "share", "widened", "rows, mean", "recall", "fixed, as many rows", "mean ms",
        "to the graph", "recall then", "mean ms then",
    )  # fmt: skip
    return (
        markdown(["rows scored, all queries alike", "recall", "mean ms"], fixed)
        + "\n\n"
        + markdown(header, rows)
    )
