"""`trieflow bench discretisers`: five ways from vectors to codes, compared on real vectors at equal work.

All have about as many codes. The codes that documents have are ranked for each query by what they mean; their
documents are scored exactly in that order until so many are scored. Recall@10 is what is retained of the exact
answer. No second leaf, no decoder: what the codes alone are worth. In the last column only the best quarter of the
prefixes without the last level is opened: it shows whether a prefix means something.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import corpus
from benchmarks.leaf_recall import Postings, recall_when_scored
from benchmarks.tables import keep, markdown
from models.codebooks.discretisers import (
    BottomUpTree,
    Discretiser,
    ProductQuantiser,
    ResidualQuantiser,
    SignHash,
    TopDownTree,
    scores,
)
from streams.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

NEAREST = 10
SCORED = (1_000, 2_000, 4_000)
WAYS: Mapping[str, Callable[[], Discretiser]] = {
    "bottom-up tree, 4,096 leaves": lambda: BottomUpTree(4_096),
    "top-down tree, 16 x 16 x 16": lambda: TopDownTree((16, 16, 16)),
    "residual quantisation, 3 x 4 bits": lambda: ResidualQuantiser(levels=3, bits=4),
    "product quantisation, 3 x 4 bits": lambda: ProductQuantiser(levels=3, bits=4),
    "learned sign hash, 3 x 4 bits": lambda: SignHash(levels=3, bits=4),
}


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Fit, rank, print the table. Writes `benchmarks/results/discretisers.json` with `--keep`."""
    options = _options(arguments)
    whole = corpus.load(options.folder)
    vectors = np.array(whole.vectors[: options.rows])
    exact = corpus.exact_neighbours(vectors, whole.queries, count=NEAREST)
    figures: dict[str, Any] = {"rows": len(vectors), "seed": options.seed, "ways": {}}
    for name, make in WAYS.items():
        figures["ways"][name] = _measured(make(), vectors, whole.queries, exact, options.seed)
        if not options.json:
            print(f"{name}: fitted in {figures['ways'][name]['fit_s']:.1f} s", flush=True)
    if options.json:
        print(json.dumps(figures))
    else:
        print(markdown(_HEADER, [_row(name, each) for name, each in figures["ways"].items()]))
    if options.keep:
        keep("discretisers", f"{len(vectors)} rows", figures)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench discretisers", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=131_072, help="the first ones (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/discretisers.json")
    return parser.parse_args(list(arguments))


def _measured(
    discretiser: Discretiser, vectors: Vectors, queries: Vectors, exact: NDArray[np.integer], seed: int
) -> dict[str, Any]:
    started = time.perf_counter()
    discretiser.fit(vectors, seed)
    fitted = time.perf_counter()
    codes = discretiser.encode(vectors)
    encoded = time.perf_counter()
    live, code_of = np.unique(codes, axis=0, return_inverse=True)
    postings = Postings.of(code_of, leaves=len(live))
    ranks = scores(discretiser, queries, live)
    return {
        "fit_s": fitted - started,
        "encoded_a_second": len(vectors) / (encoded - fitted),
        "bytes": discretiser.nbytes,
        "codes": len(live),
        "largest_over_mean": float(np.bincount(code_of).max() * len(live) / len(vectors)),
        "recall": recall_when_scored(postings, np.argsort(-ranks, axis=1), exact, SCORED),
        "recall_by_prefix": recall_when_scored(
            postings, _by_prefix(discretiser, queries, live, ranks), exact, SCORED
        ),
    }


def _by_prefix(
    discretiser: Discretiser, queries: Vectors, live: NDArray[np.int64], ranks: Vectors
) -> NDArray[np.intp]:
    """Codes by rank, those below the best quarter of the prefixes first."""
    prefixes, below = np.unique(live[:, :-1], axis=0, return_inverse=True)
    worth = scores(discretiser, queries, prefixes)
    opened = worth >= np.quantile(worth, _NOT_OPENED, axis=1, keepdims=True)
    return np.argsort(np.where(opened[:, below], -ranks, np.inf), axis=1, kind="stable")


_NOT_OPENED = 0.75
_HEADER = (
    "codes by", "fit, s", "encoded/s", "codebook, kB", "codes in use", "largest / mean",
    "recall, 1,000 / 2,000 / 4,000 scored", "the same, best quarter of prefixes opened",
)  # fmt: skip


def _row(name: str, each: Mapping[str, Any]) -> list[object]:
    return [
        name,
        each["fit_s"],
        each["encoded_a_second"],
        each["bytes"] / 1_000,
        each["codes"],
        each["largest_over_mean"],
        *(
            " / ".join(f"{share:.3f}" for share in each[kind].values())
            for kind in ("recall", "recall_by_prefix")
        ),
    ]
