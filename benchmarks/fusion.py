"""`trieflow bench fusion --tasks FOLDER`: weights of the fusion, chosen on some tasks and measured on others.

The folder holds `storybook/`, `text/` and `clothing/`, as `benchmarks/README.md` describes them. Each task: nDCG@10
of the lexical path alone, of exact vectors alone, of reciprocal rank fusion, and of the weighted sum.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ir_measures
import numpy as np

from benchmarks import corpus
from benchmarks.fusion_lists import DEPTH, Found, lexical_index, lists_of
from benchmarks.fusion_tasks import Task, test_tasks, tuning_tasks
from benchmarks.tables import keep, markdown
from models.encoders.registry import load_encoder
from state.fusion import FusionWeights, MeasureWeight, RankedList, fuse
from streams.settings import Settings

MEASURE = ir_measures.nDCG @ 10
POWERS = {1.0: (4.0, 6.0, 8.0, 10.0, 12.0), 2.0: (10.0, 12.0, 15.0, 20.0, 25.0, 30.0)}
"""Weights that are tried for each power of the lexical score."""
TRUSTED = (10, 20, 30, 50, None)
MISSING: tuple[tuple[Literal["last", "nothing"], Literal["last", "nothing"]], ...]
MISSING = (("last", "nothing"), ("nothing", "nothing"), ("last", "last"))
"""What a document counts that the vectors, that the words did not find."""

Ranking = Callable[[Found], Sequence[int]]
Lists = Mapping[str, tuple[Task, Sequence[Found]]]


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Tune and measure. Writes `benchmarks/results/fusion.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench fusion", description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True, help="folder of storybook, text and clothing")
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER / "fusion", help="vectors are kept here")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/fusion.json")
    options = parser.parse_args(list(arguments))
    tuning = _lists(tuning_tasks(options.tasks), options.folder)
    tried = {weights: _mean(_scores(tuning, _weighted(weights))) for weights in _candidates()}
    best = max(tried, key=lambda weights: tried[weights])
    print(_tried(tried))
    lists = {**tuning, **_lists(test_tasks(options.tasks), options.folder)}
    figures = _figures(lists, tuned_on=set(tuning), weights=best)
    print(_table(figures))
    print(f"tuned: {best.model_dump_json()}, the defaults: {FusionWeights().model_dump_json()}")
    if options.keep:
        body = {"measure": str(MEASURE), "depth": DEPTH, "weights": best.model_dump(), "tasks": figures}
        body["tried"] = [{"weights": w.model_dump(), "mean": round(m, 4)} for w, m in tried.items()]
        print(f"kept in {keep('fusion', 'tasks', body)}")


def _lists(tasks: Sequence[Task], folder: Path) -> Lists:
    encoder = load_encoder("lite", threads=2)
    by_pool: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_pool[task.pool].append(task)
    lists: dict[str, tuple[Task, Sequence[Found]]] = {}
    for same in by_pool.values():
        with lexical_index(same[0].documents) as index:
            for task in same:
                lists[task.name] = task, lists_of(task, encoder=encoder, index=index, folder=folder)
    return lists


def _candidates() -> list[FusionWeights]:
    return [
        FusionWeights(
            vector=MeasureWeight(missing=by_vectors, trusted=trusted),
            lexical=MeasureWeight(weight=weight, power=power, missing=by_words),
        )
        for power, weights in POWERS.items()
        for weight in weights
        for trusted in TRUSTED
        for by_vectors, by_words in (MISSING if trusted in (20, None) else MISSING[:1])
    ]


def _weighted(weights: FusionWeights) -> Ranking:
    return lambda found: fuse([found.dense, found.lexical], weights, 10).slots.tolist()


def _alone(path: Callable[[Found], RankedList]) -> Ranking:
    return lambda found: path(found).slots[:10].tolist()


def _scores(lists: Lists, ranking: Ranking) -> dict[str, np.ndarray]:
    """nDCG@10 of each query, by task."""
    return {name: _of_task(task, found, ranking) for name, (task, found) in lists.items()}


def _of_task(task: Task, lists: Sequence[Found], ranking: Ranking) -> np.ndarray:
    judged = {str(number): dict(ask.relevant) for number, ask in enumerate(task.asks)}
    run = {
        str(number): {
            task.documents[slot].document_id: float(-place) for place, slot in enumerate(ranking(found))
        }
        for number, found in enumerate(lists)
    }
    values = {metric.query_id: metric.value for metric in ir_measures.iter_calc([MEASURE], judged, run)}
    return np.array([values.get(query, 0.0) for query in judged])


def _mean(scores: Mapping[str, np.ndarray]) -> float:
    return float(np.mean([values.mean() for values in scores.values()]))


def _figures(lists: Lists, *, tuned_on: set[str], weights: FusionWeights) -> list[dict[str, Any]]:
    rankings = {
        "lexical": _alone(lambda found: found.lexical),
        "dense": _alone(lambda found: found.dense),
        "reciprocal_rank": _weighted(FusionWeights(method="reciprocal_rank")),
        "weighted": _weighted(weights),
    }
    by_ranking = {name: _scores(lists, ranking) for name, ranking in rankings.items()}
    rows = []
    for name in lists:
        values = {ranking: scores[name] for ranking, scores in by_ranking.items()}
        gain = values["weighted"] - values["reciprocal_rank"]
        rows.append(
            {
                "task": name,
                "tuned_on": name in tuned_on,
                "queries": len(gain),
                **{ranking: round(float(each.mean()), 4) for ranking, each in values.items()},
                "gain": round(float(gain.mean()), 4),
                "gain_error": round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 4),
            }
        )
    return rows


def _table(figures: Sequence[Mapping[str, Any]]) -> str:
    header = ["task", "queries", "lexical", "dense", "reciprocal rank", "weighted", "gain over ranks"]
    rows = [
        [
            f"{row['task']}{' (tuned on)' if row['tuned_on'] else ''}",
            row["queries"],
            *(f"{row[name]:.3f}" for name in ("lexical", "dense", "reciprocal_rank", "weighted")),
            f"{row['gain']:+.3f} ± {row['gain_error']:.3f}",
        ]
        for row in figures
    ]
    return markdown(header, rows)


def _tried(tried: Mapping[FusionWeights, float]) -> str:
    rows = [
        [
            w.lexical.power,
            w.lexical.weight,
            w.vector.trusted,
            w.vector.missing,
            w.lexical.missing,
            f"{mean:.4f}",
        ]
        for w, mean in sorted(tried.items(), key=lambda item: -item[1])
    ]
    header = ["power", "lexical weight", "trusted", "vector missing", "lexical missing", "mean nDCG@10"]
    return markdown(header, rows[:12])
