"""How much of the exact answer is found, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def recall_of(found: Sequence[Sequence[int]], exact: NDArray[np.integer]) -> float:
    """The share of `exact` (queries, k) that is among what was found; queries beyond `found` do not count."""
    right = sum(len(set(rows) & set(wanted)) for rows, wanted in zip(found, exact.tolist(), strict=False))
    return float(right / (len(found) * exact.shape[1]))


def reached_within(points: Sequence[Mapping[str, float]], milliseconds: float) -> float | None:
    """The best recall of the operating points whose p50 is at most `milliseconds`; None when there is none."""
    return max((point["recall"] for point in points if point["p50_ms"] <= milliseconds), default=None)


def cheapest_at(points: Sequence[Mapping[str, float]], recall: float) -> float | None:
    """The lowest p50, in milliseconds, of the operating points that reach `recall`; None when none does."""
    return min((point["p50_ms"] for point in points if point["recall"] >= recall), default=None)
