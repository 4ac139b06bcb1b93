"""The plots of a report, by matplotlib (extra `train`), as PNG. Without a display, and without any global state."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.gates.decision import Decision
from models.gates.verdict import Evidence, Judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEFORE, _AFTER, _BAD = "#6b7280", "#2563eb", "#c2410c"
_SIZE = (7.0, 3.2)
_BINS = 60


@dataclass(frozen=True)
class Plot:
    """A picture, and what it shows."""

    title: str
    about: str
    png: bytes


def draw(evidence: Evidence, judgement: Judgement) -> list[Plot]:
    """All plots of a judgement. Raises ImportError when matplotlib is not installed."""
    return [_by_query(evidence), _exposure(evidence, judgement.exposure), *_distributions(judgement)]


def _by_query(evidence: Evidence) -> Plot:
    figure, axes = _figure()
    changes = np.sort(evidence.guard.ndcg_change)
    axes.fill_between(np.arange(len(changes)), changes, step="mid", color=_AFTER, linewidth=0)
    axes.axhline(0, color=_BEFORE, linewidth=0.8)
    axes.set_xlabel("known-item queries, the worst change first")
    axes.set_ylabel("change of nDCG@10")
    better, worse = int((changes > 0).sum()), int((changes < 0).sum())
    about = f"{better:,} queries better, {worse:,} worse, {len(changes) - better - worse:,} as they were."
    return Plot("Change by query", about, _png(figure))


def _exposure(evidence: Evidence, decision: Decision) -> Plot:
    figure, axes = _figure()
    before, after = evidence.lists.shares
    most = max(float(before.max(initial=0)), float(after.max(initial=0)), 0.01) * 100
    axes.plot([0, most], [0, most], color=_BEFORE, linewidth=0.8, label="as before")
    for check in decision.checks:
        risen = 100 * check.limit
        axes.plot([0, most], [risen, most + risen], color=_BAD, linestyle="--", linewidth=0.8, label="limit")
    axes.scatter(before * 100, after * 100, s=9, color=_AFTER, alpha=0.5, linewidths=0)
    axes.set_xlabel("% of lists now")
    axes.set_ylabel("% of lists with the candidate")
    axes.legend(frameon=False)
    return Plot(
        "Exposure of documents",
        "Each point is a document; above the line it comes up more often.",
        _png(figure),
    )


def _distributions(judgement: Judgement) -> Iterator[Plot]:
    for decision in judgement.decisions:
        for check in decision.checks:
            if check.name in decision.resampled:
                yield _distribution(decision, check.name, check.bound, check.limit)


def _distribution(decision: Decision, name: str, bound: float, limit: float) -> Plot:
    figure, axes = _figure()
    axes.hist(decision.resampled[name] * 100, bins=_BINS, color=_AFTER, alpha=0.6)
    axes.axvline(bound * 100, color=_AFTER, label="lower bound")
    axes.axvline(limit * 100, color=_BAD, linestyle="--", label="limit")
    axes.set_xlabel("relative change, %")
    axes.set_ylabel("resamples")
    axes.legend(frameon=False)
    return Plot(
        f"{decision.gate}: {name.replace('_', ' ')}",
        "How sure the change is: bootstrap resamples.",
        _png(figure),
    )


def _figure() -> tuple[Any, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    packed = io.BytesIO()
    # No version of the library in it: equal figures give equal bytes.
    figure.savefig(packed, format="png", dpi=120, metadata={"Software": None})
    return packed.getvalue()
