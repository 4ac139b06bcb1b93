"""`trieflow bench stream`: new topics come to an index that was fitted without them (the dynamic corpus protocol).

Nine tenths of the documents are there from the beginning and the tree is fitted on them; then five slices of
topics that were never seen come, one after the other. R[i][j] is the recall@10 after slice i of queries about the
topics of slice j (0: what was there), by the generative path alone: the share of the exact answer over all that is
there. Once nothing learns, once the tree is kept as the curator keeps it; beside them a tree fitted on everything.
There is no trained decoder: leaves are ranked by geometry. At last come documents of all topics alike, those of a
minute and before them as many: what is found of the exact answers is told by when they came.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import corpus
from benchmarks.peers.trieflow_generative import Generative
from benchmarks.stream_slices import Slices, sliced
from benchmarks.tables import figure, keep, markdown
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Vectors = NDArray[np.float32]

NEAREST = 10
A_BATCH = 64
SCHEMES = {"nothing learns": False, "the tree is kept": True}
FRESH = "fitted on everything"


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Play the stream to each index, print tables. Writes `benchmarks/results/stream.json` with `--keep`."""
    options = _options(arguments)
    whole = corpus.load(options.folder)
    slices = sliced(whole, rows=options.rows, queries=options.queries, young=options.young, seed=options.seed)
    with tempfile.TemporaryDirectory(prefix="trieflow-bench-") as name:
        base, everything = Path(name) / "base", Path(name) / "everything"
        base.mkdir()
        everything.mkdir()
        played = {
            scheme: _played(whole, slices, base, learns=learns, scored=options.scored)
            for scheme, learns in SCHEMES.items()
        }
        fresh = _fresh(whole, slices, everything, options.scored)
    figures: dict[str, Any] = {
        "rows": [len(rows) for rows in slices.rows],
        "young": len(slices.young),
        "topics": slices.topics,
        "scored": options.scored,
        "schemes": {scheme: each.figures() for scheme, each in played.items()},
        FRESH: fresh,
    }
    print(json.dumps(figures) if options.json else _tables(figures))
    if options.keep:
        keep("stream", f"{sum(figures['rows'])} rows, {options.scored} scored", figures)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench stream", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=131_072, help="base and slices (default %(default)s)")
    parser.add_argument("--queries", type=int, default=400, help="about each slice (default %(default)s)")
    parser.add_argument(
        "--young", type=int, default=16_680, help="a minute's documents at 278 a second (default %(default)s)"
    )
    parser.add_argument("--scored", type=int, default=4_000, help="documents a query (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/stream.json")
    return parser.parse_args(list(arguments))


# -- playing ------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """What was found after each slice: R[i][j] for j ≤ i, shares of new documents; at last by when they came."""

    matrix: list[list[float]] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    by_age: dict[str, float] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """With the measures of continual learning that follow from R."""
        last, slices = self.matrix[-1], range(1, len(self.matrix))
        earlier = range(len(self.matrix) - 1)
        return {
            "R": self.matrix,
            "average": float(np.mean(last)),
            "forgetting": float(np.mean([max(row[j] for row in self.matrix[j:]) - last[j] for j in earlier])),
            "backward transfer": float(np.mean([last[j] - self.matrix[j][j] for j in earlier])),
            "new topics when they come": float(np.mean([self.matrix[j][j] for j in slices])),
            "new documents found": self.new,
            "by when they came": self.by_age,
            "leaves": self.leaves,
        }


class _Index:
    """Rows of the corpus in the order they came, in an index of the generative path that was built in a folder."""

    def __init__(self, vectors: Vectors, folder: Path, *, learns: bool, scored: int) -> None:
        self._learns = learns
        self._scored = scored
        self._vectors = vectors
        self._engine = Generative()
        if (folder / "vectors.npy").exists():
            self._engine.open(folder)
        else:
            self._engine.build(vectors, folder)

    def add(self, vectors: Vectors) -> None:
        for at in range(0, len(vectors), A_BATCH):
            batch = vectors[at : at + A_BATCH]
            self._engine.insert(len(self._vectors) + at, batch)
            if self._learns:
                self._engine.beside()
        self._vectors = np.concatenate([self._vectors, vectors])

    def found(self, queries: Vectors) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Of the exact answers (q, k), which are found; and these answers, by the order in which rows came."""
        exact = corpus.exact_neighbours(self._vectors, queries, count=NEAREST)
        found = [
            np.isin(wanted, self._engine.search(query, NEAREST, self._scored))
            for query, wanted in zip(queries, exact, strict=True)
        ]
        return np.stack(found), exact

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def leaves(self) -> int:
        return self._engine.leaves


def _played(whole: corpus.Corpus, slices: Slices, folder: Path, *, learns: bool, scored: int) -> Played:
    played = Played()
    index = _Index(_of(whole, slices.rows[0]), folder, learns=learns, scored=scored)
    ends = [len(index)]
    for number, rows in enumerate(slices.rows):
        if number:
            index.add(_of(whole, rows))
            ends.append(len(index))
        answered = [index.found(_of(whole, asked)) for asked in slices.queries[: number + 1]]
        played.matrix.append([float(right.mean()) for right, _ in answered])
        played.leaves.append(index.leaves)
        if number:
            right, exact = answered[number]
            played.new.append(float(right[exact >= ends[-2]].mean()))
        print(f"{'kept' if learns else 'nothing learns'}: slice {number} is in", flush=True)
    played.by_age = _by_age(whole, slices, index, fitted=ends[0])
    return played


def _by_age(whole: corpus.Corpus, slices: Slices, index: _Index, *, fitted: int) -> dict[str, float]:
    """What is found of the exact answers that the tree was fitted on, of those since, of those of a minute."""
    first = len(index)
    index.add(_of(whole, slices.since))
    minute = len(index)
    index.add(_of(whole, slices.young))
    right, exact = index.found(_of(whole, np.concatenate(slices.queries)))
    ages = {
        "fitted on": exact < fitted,
        "came since": (exact >= first) & (exact < minute),
        "younger than a minute": exact >= minute,
    }
    return {name: float(right[of_age].mean()) for name, of_age in ages.items()}


def _fresh(whole: corpus.Corpus, slices: Slices, folder: Path, scored: int) -> dict[str, Any]:
    index = _Index(_of(whole, np.concatenate(slices.rows)), folder, learns=False, scored=scored)
    last = [float(index.found(_of(whole, asked))[0].mean()) for asked in slices.queries]
    return {"last row of R": last, "average": float(np.mean(last)), "leaves": index.leaves}


def _of(whole: corpus.Corpus, rows: Rows) -> Vectors:
    return np.asarray(whole.vectors[np.sort(rows)])


# -- tables -------------------------------------------------------------------------------------------------

_MEASURES = ("average", "forgetting", "backward transfer", "new topics when they come")


def _tables(figures: dict[str, Any]) -> str:
    base, *later = figures["rows"]
    parts = [f"{base:,} documents, then slices of {later}; {figures['scored']:,} documents scored a query"]
    for name, each in figures["schemes"].items():
        header = [f"R, {name}", *(f"slice {j}" for j in range(len(each["R"]))), "leaves"]
        rows = [
            [f"after {i}", *row, *[None] * (len(each["R"]) - len(row)), each["leaves"][i]]
            for i, row in enumerate(each["R"])
        ]
        parts.append(markdown(header, rows))
    last = figures[FRESH]["last row of R"]
    parts.append(markdown([FRESH, *(f"slice {j}" for j in range(len(last)))], [["R", *last]]))
    parts.append(markdown(["", *_MEASURES, "new documents found"], [
        [name, *(each[measure] for measure in _MEASURES), " / ".join(map(figure, each["new documents found"]))]
        for name, each in figures["schemes"].items()
    ]))  # fmt: skip
    ages = {name: each["by when they came"] for name, each in figures["schemes"].items()}
    names = list(next(iter(ages.values())))
    parts.append(
        markdown(["found, of answers that", *names], [[n, *each.values()] for n, each in ages.items()])
    )
    return "\n\n".join(parts)
