"""Figures of rankings for people to read, before and after, with a paired test; no gate looks at them.

By ir_measures (which calls trec_eval) and scipy, from the extra `train`. The test is Student's paired t, which
holds its level on such figures (Urbano, Lima and Hanjalic, SIGIR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.gates.bootstrap import NEEDS_TRAIN
from models.gates.clicks import HeldOutClicks
from models.gates.guard import GuardQueries
from models.gates.ranks import Floats
from streams.errors import GateError

MEASURES = ("nDCG@10", "R@10", "P@10", "RR@100", "AP@100")
DEPTH = 100
"""Of the lists that are measured; RR and AP are MRR and mAP once they are averaged."""

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Metric:
    """One figure, the mean over units before and after. p: of the difference, 1 where there is none."""

    name: str
    before: float
    after: float
    p: float
    units: int


def guard_metrics(queries: GuardQueries) -> list[Metric]:
    """Over queries: each wants one document. Raises GateError when the packages are missing."""
    each = np.arange(len(queries))
    wanted = np.ones(len(queries), dtype=np.bool_)
    return _compared(each, wanted, queries.before, queries.after, units=each)


def click_metrics(clicks: HeldOutClicks) -> list[Metric]:
    """Over sessions with a click: clicked documents are relevant in the list they were clicked in, others are not.

    They favour the incumbent, which chose what could be clicked. Raises GateError when the packages are missing.
    """
    whole = clicks.weights == 1
    answers = np.asarray(clicks.answer)[whole]
    clicked = clicks.clicks[whole] == 1
    kept = np.isin(answers, answers[clicked])
    return _compared(
        answers[kept],
        clicked[kept],
        clicks.before[whole][kept],
        clicks.after[whole][kept],
        units=clicks.sessions[whole][kept],
    )


def _compared(
    lists: NDArray[np.int64],
    relevant: NDArray[np.bool_],
    before: Floats,
    after: Floats,
    *,
    units: NDArray[np.int64],
) -> list[Metric]:
    """Each array (n,): of a document, its list, whether it is relevant, its ranks, the unit its list belongs to."""
    if not len(lists):
        return []
    qrels = _qrels(lists, relevant)
    unit_of = dict(zip(map(str, lists.tolist()), units.tolist(), strict=True))
    found = [_measured(qrels, _run(lists, ranks)) for ranks in (before, after)]
    return [_metric(name, *(_by_unit(values[name], unit_of) for values in found)) for name in MEASURES]


def _qrels(lists: NDArray[np.int64], relevant: NDArray[np.bool_]) -> Qrels:
    qrels: Qrels = {}
    for place, (each, is_relevant) in enumerate(zip(lists.tolist(), relevant.tolist(), strict=True)):
        qrels.setdefault(str(each), {})[str(place)] = int(is_relevant)
    return qrels


def _run(lists: NDArray[np.int64], ranks: Floats) -> Run:
    """Scores fall with the rank. Ranks of documents that nothing is known of are filled: positions must be true."""
    run: Run = {}
    for place, (each, rank) in enumerate(zip(lists.tolist(), ranks.tolist(), strict=True)):
        run.setdefault(str(each), {})
        if rank <= DEPTH:
            run[str(each)][str(place)] = -rank
    for scores in run.values():
        taken = set(scores.values())
        deepest = int(-min(taken, default=0.0))
        scores.update({f"other {rank}": -float(rank) for rank in range(1, deepest) if -rank not in taken})
        if not scores:
            scores["other 1"] = -1.0
    return run


def _measured(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """By measure and list."""
    try:
        import ir_measures
    except ImportError as error:
        raise GateError(NEEDS_TRAIN, field="packages") from error
    values: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    measures = {ir_measures.parse_measure(name): name for name in MEASURES}
    for found in ir_measures.iter_calc(list(measures), qrels, run):
        values[measures[found.measure]][found.query_id] = float(found.value)
    return values


def _by_unit(values: Mapping[str, float], unit_of: Mapping[str, int]) -> Floats:
    """Means (units,) of the lists of each unit."""
    units = np.unique([unit_of[each] for each in values], return_inverse=True)[1]
    return np.bincount(units, list(values.values())) / np.bincount(units)


def _metric(name: str, before: Floats, after: Floats) -> Metric:
    from scipy.stats import ttest_rel

    differs = len(before) > 1 and bool(np.ptp(after - before))
    p = float(ttest_rel(after, before).pvalue) if differs else 1.0
    return Metric(name, float(before.mean()), float(after.mean()), p, len(before))
