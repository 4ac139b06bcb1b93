"""What a soak counted, as plain figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.soaking.asking import Questions
from benchmarks.soaking.log_fold import LogFold
from benchmarks.soaking.workers import NAMES, Kill, Workers
from benchmarks.timing import quantiles_ms

SHOWN = 20


def query_figures(asked: Questions) -> dict[str, Any]:
    """Questions and answers. Latencies are those of all answers, those around kills too."""
    return {
        "asked": asked.count,
        "answered": len(asked.seconds),
        "kinds": dict(asked.kinds),
        "modes": dict(asked.modes),
        "errors": dict(asked.errors),
        "wrong": asked.wrong[:SHOWN],
        "repeated": asked.repeated,
        "differing_repeats": asked.differing_repeats(),
        **quantiles_ms(asked.seconds or [0.0]),
    }


def kill_figures(kills: Sequence[Kill]) -> dict[str, Any]:
    """Who was killed, and the longest time until a successor was ready."""
    back = [kill.back_after_s for kill in kills if kill.back_after_s is not None]
    return {
        "total": len(kills),
        "by_role": dict(Counter(kill.worker.role for kill in kills)),
        "longest_until_ready_s": round(max(back, default=0.0), 1),
    }


def log_figures(fold: LogFold) -> dict[str, Any]:
    """What stands in the log at the end."""
    live = len(fold.live())
    return {
        "documents": live,
        "deleted": len(fold.documents) - live,
        "records": fold.records,
        "ids_ever": len(fold.owners),
        "epoch": fold.active,
        "codebooks": dict(fold.codebook_keys),
        "moves_asked": fold.moves_asked,
        "moves_done": fold.moves_done,
        "strays": fold.strays(),
    }


def curator_figures(workers: Workers) -> dict[str, Any]:
    """What the curators decided, over all their lives."""
    lines = [line for name in NAMES if name.role == "curator" for line in workers.log_lines(name)]
    return {
        "trees_fitted_on": [line["fitted_on"] for line in lines if line.get("event") == "codebook fitted"],
        "tree_changes": dict(
            Counter(line["reason"] for line in lines if line.get("event") == "tree changed")
        ),
    }


def errors_in_logs(workers: Workers) -> dict[str, int]:
    """Lines of level error by role and event."""
    lines = [(name.role, line) for name in NAMES for line in workers.log_lines(name)]
    return dict(Counter(f"{role}: {line['event']}" for role, line in lines if line.get("level") == "error"))
