"""`trieflow bench learning --ablation`: what each term and option of the adapter's training is worth.

Without Kafka: answers by exact scores, people as in the benchmark, the last fifth of the sessions held out. For
each seed one log, and from its training part an adapter with the recommended options, and with each of them
changed. Figures are nDCG@10 in percent by kind of query; of all rows but the first two, the differences from the
recommended adapter of the same seed. Mean and standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.learning.adapters import NAIVE, Recipe, make_adapter, make_lesson, scores_of
from benchmarks.learning.exact_system import ndcg, top_of
from benchmarks.learning.gates import evidence_of
from benchmarks.learning.study import Size, Study
from benchmarks.learning.world import Floats, Kind
from benchmarks.tables import keep, markdown
from models.adapter.losses import LossWeights
from models.adapter.training import AdapterOptions
from models.encoders.registry import load_encoder
from models.gates.verdict import judge
from streams.settings import Settings

SEEDS = (3, 4, 5)
"""Seeds 0 to 2 are for choosing."""
CLICKS = 5_000
KINDS: tuple[Kind, ...] = (
    "words seen",
    "words unseen",
    "preferences seen",
    "preferences unseen",
    "ordinary",
    "near",
    "far",
)
NOTHING, RECOMMENDED = "nothing", "recommended"


def _with(**options: Any) -> Recipe:
    return Recipe(replace(AdapterOptions(), **options))


def _by(**weights: float) -> Recipe:
    return _with(loss=LossWeights(**weights))


RECIPES: Mapping[str, Recipe] = {
    RECOMMENDED: Recipe(),
    "no WiSE": Recipe(is_weakened=False),
    "no replay": _by(replay=0.0),
    "no identity": _by(identity=0.0),
    "neither, with WiSE": Recipe(AdapterOptions(loss=NAIVE)),
    "neither, no WiSE (naive pairs)": Recipe(AdapterOptions(loss=NAIVE), is_weakened=False),
    "no clicks": _by(clicks=0.0),
    "no links of rephrasings": Recipe(links=False),
    "no hard negatives": _with(hard_negatives=0),
    "curriculum": _with(curriculum=True),
    "distillation 1": _by(distillation=1.0),
    "alignment 1": _by(alignment=1.0),
    "generation 1": _by(generation=1.0),
    "generation in place of clicks": _by(clicks=0.0, generation=1.0),
    "temperature 0.015": _with(temperature=0.015),
    "temperature 0.1": _with(temperature=0.1),
}


@dataclass(frozen=True)
class Row:
    """ndcg: by kind, in percent; share: of the training that is left; guard: changes of nDCG@10 and MRR."""

    seed: int
    name: str
    ndcg: Mapping[Kind, float]
    share: float | None
    guard: tuple[float, float]
    verdict: str

    def figures(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "name": self.name,
            "ndcg": dict(self.ndcg),
            "share": self.share,
            "guard": dict(zip(("ndcg", "mrr"), self.guard, strict=True)),
            "verdict": self.verdict,
        }


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes the part `ablation` of `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning --ablation", description=__doc__)
    parser.add_argument("--ablation", action="store_true", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default %(default)s")
    parser.add_argument("--clicks", type=int, default=CLICKS, help="of each log (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    encoder = load_encoder("lite", threads=2)
    found: list[Row] = []
    for seed in options.seeds:
        found += ablate(Study(seed, encoder, Size(options.clicks)))
        print(f"seed {seed}\n" + markdown(*table([row for row in found if row.seed == seed])), flush=True)
    print("\n" + markdown(*table(found)))
    if options.keep:
        kept = {"clicks": options.clicks, "rows": [row.figures() for row in found]}
        print(f"kept in {keep('learning', 'ablation', kept)}")


def ablate(study: Study, recipes: Mapping[str, Recipe] = RECIPES) -> list[Row]:
    """What serves without an adapter, and an adapter by each recipe."""
    lesson = make_lesson(study, study.training)
    found = [_row(study, NOTHING, study.incumbent, None)]
    for name, recipe in recipes.items():
        made = make_adapter(study, lesson, recipe)
        found.append(_row(study, name, scores_of(study, made.adapter), made.share))
    return found


def _row(study: Study, name: str, scores: Floats, share: float | None) -> Row:
    judgement = judge(evidence_of(study, scores), seed=study.seed)
    changes = {check.name: check.value for check in judgement.guard.checks}
    guard = changes.get("ndcg_change", 0.0), changes.get("mrr_change", 0.0)
    return Row(study.seed, name, _by_kind(study, scores), share, guard, judgement.verdict)


def _by_kind(study: Study, scores: Floats) -> dict[Kind, float]:
    asked = study.world.asked
    found = ndcg(np.stack([each.wanted for each in asked]), top_of(scores[: len(asked)]))
    kinds = np.array([each.kind for each in asked])
    return {kind: 100 * float(found[kinds == kind].mean()) for kind in KINDS}


# -- table --------------------------------------------------------------------------------------------------


def table(found: Sequence[Row]) -> tuple[list[str], list[list[object]]]:
    """A row for each recipe, over seeds."""
    recommended = {row.seed: row for row in found if row.name == RECOMMENDED}
    header = ["adapter", *KINDS, "guard: nDCG / MRR", "share left", "gates say"]
    return header, [
        _cells(name, [row for row in found if row.name == name], recommended)
        for name in dict.fromkeys(row.name for row in found)
    ]


def _cells(name: str, rows: Sequence[Row], recommended: Mapping[int, Row]) -> list[object]:
    is_level = name in (NOTHING, RECOMMENDED)
    kinds = []
    for kind in KINDS:
        known = [0.0 if is_level else recommended[row.seed].ndcg[kind] for row in rows]
        values = [row.ndcg[kind] - before for row, before in zip(rows, known, strict=True)]
        kinds.append(_mean(values, sign="" if is_level else "+"))
    guard = " / ".join(
        f"{100 * statistics.fmean(each):+.1f}" for each in zip(*(row.guard for row in rows), strict=True)
    )
    shares = [row.share for row in rows if row.share is not None]
    verdicts = Counter(row.verdict for row in rows)
    return [
        name,
        *kinds,
        f"{guard} %",
        f"{min(shares):g} – {max(shares):g}" if shares else "–",
        ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.items()),
    ]


def _mean(values: Sequence[float], *, sign: str) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.1f}{spread}"
