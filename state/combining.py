"""From the scores of a query's parts to the score of a document: and, or, not.

All works on calibrated scores (0 is a random pair, 1 its spread), so parts of different kinds can be joined. The
constants were chosen on half of the words in names of drawings and hold on the other half
(`python -m benchmarks.algebra`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.events.queries import PartRole

Floats = NDArray[np.float32]

MISSING = 3.0
"""Temperature of the soft minimum: a part that is missed by so much more than the others weighs e times as much."""
EITHER = 0.5
"""Temperature of the soft maximum."""
HAS_IT = 3.0
"""From this score on a document has what a part means: one random pair in 140 scores more."""
STEEPNESS = 0.25
"""Over so much of a score the penalty of `not` sets in."""
PENALTY = 2.0
"""What `not` takes away for each unit of score above HAS_IT, times its weight."""


def combined(parts: Floats, weights: Floats, roles: Sequence[PartRole]) -> Floats:
    """Scores (n,) of documents from those of their parts (p, n), with weights (p,): `wanted` less `left_out`."""
    return wanted(parts, weights, roles) - left_out(parts, weights, roles)


def wanted(parts: Floats, weights: Floats, roles: Sequence[PartRole]) -> Floats:
    """What the `and` and `or` parts (of p) give to each document (n,). NaN where a part is NaN.

    `and` parts with weights above 0: sum(w) times the soft minimum. With negative weights: w * score is added.
    `or` parts: the soft maximum of w * score. One part alone gives weight * score.
    """
    role = np.array(roles)
    together, away = (role == "and") & (weights > 0), (role == "and") & (weights <= 0)
    either = role == "or"
    scores: Floats = weights[away] @ parts[away]
    if together.any():
        scores = scores + _soft_minimum(parts[together], weights[together])
    if either.any():
        scores = scores + _soft_maximum(weights[either, None] * parts[either])
    return scores.astype(np.float32)


def left_out(parts: Floats, weights: Floats, roles: Sequence[PartRole]) -> Floats:
    """What the `not` parts (of p) take away from each document (n,), 0 or more.

    The penalty sets in at HAS_IT: what has nothing to do with a part is not drawn towards its opposite.
    """
    without = np.array(roles) == "not"
    lost: Floats = (weights[without] @ _penalty(parts[without])).astype(np.float32)
    return lost


def alternatives(weights: Floats, roles: Sequence[PartRole]) -> Floats:
    """Weights (a, p) of the plain sums by which candidates are looked for: one for each `or` part.

    `not` counts in none of them: what it leaves out is found among the rest, not opposite to it.
    """
    role = np.array(roles)
    always = np.where(role == "and", weights, 0)
    either = np.flatnonzero(role == "or")
    if not len(either):
        return always[None, :].astype(np.float32)
    rows = np.tile(always, (len(either), 1))
    rows[np.arange(len(either)), either] = weights[either]
    return rows.astype(np.float32)


def _soft_minimum(parts: Floats, weights: Floats) -> Floats:
    """-W t log(sum of w / W exp(-score / t)), W the sum of the weights: the weighted sum for large t."""
    total = weights.sum()
    least = parts.min(axis=0)
    spread = (weights / total) @ np.exp((least - parts) / MISSING)
    found: Floats = total * (least - MISSING * np.log(spread))
    return found


def _soft_maximum(values: Floats) -> Floats:
    """t log(mean of exp(value / t))."""
    most = values.max(axis=0)
    found: Floats = most + EITHER * np.log(np.exp((values - most) / EITHER).mean(axis=0))
    return found


def _penalty(parts: Floats) -> Floats:
    """PENALTY * STEEPNESS * log(1 + exp((score - HAS_IT) / STEEPNESS)): 0 below HAS_IT, then a line."""
    above = (parts - HAS_IT) / STEEPNESS
    found: Floats = PENALTY * STEEPNESS * (np.maximum(above, 0) + np.log1p(np.exp(-np.abs(above))))
    return found
