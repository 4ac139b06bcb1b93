"""The two numbers of the beam score that are chosen on held-out queries: w, and how sharp geometry is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decoder.decoder import Nodes
from models.decoder.levels import Codes, Floats
from models.decoder.scores import path_log_probabilities

OPENED_LEAVES = 16
"""The work at which weights are compared: as many documents as 16 leaves of the mean size hold."""

_WEIGHTS = (0.0, *(math.pow(2.0, half / 2) for half in range(-14, 3)))
_SHARPNESSES = tuple(math.pow(2.0, half / 2) for half in range(-4, 11))
_TUNED = 2048  # queries are enough for one number
_CHUNK = 64


@dataclass(frozen=True)
class TunedWeight:
    """w, and recall with it and with geometry alone."""

    weight: float
    recall: float
    recall_of_geometry: float


def tune_weight(geometry: Floats, learned: Floats, *, answers: Codes, sizes: Codes) -> TunedWeight:
    """The w of geometry + w · log p: the least that is within a standard error of the best.

    The least, because real queries may be less like the held-out ones than these are like those of the training:
    geometry holds for all of them.
    geometry, learned: scores of all leaves, (n, L). answers: rows of the leaves that hold each exact answer,
    (n, top, c), -1 for none. sizes: documents in each leaf, copies included, (L,).
    """
    geometry, learned, answers = geometry[:_TUNED], learned[:_TUNED], answers[:_TUNED]
    spread = float(geometry.std(axis=1).mean())
    budget = OPENED_LEAVES * float(sizes.mean())
    weights = [step * spread for step in _WEIGHTS]
    shares = [
        found_within(geometry + np.float32(weight) * learned, answers=answers, sizes=sizes, budget=budget)
        for weight in weights
    ]
    best = max(shares, key=np.mean)
    chosen = next(number for number, each in enumerate(shares) if _is_no_worse(each, best))
    return TunedWeight(weights[chosen], float(shares[chosen].mean()), float(shares[0].mean()))


def _is_no_worse(shares: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    lost = best - shares
    return bool(lost.mean() <= lost.std() / math.sqrt(len(lost)))


def found_within(scores: Floats, *, answers: Codes, sizes: Codes, budget: float) -> NDArray[np.float64]:
    """The share of each query's answers in its best leaves, opened until they hold `budget` documents, (n,)."""
    shares = []
    for start in range(0, len(scores), _CHUNK):
        part = slice(start, start + _CHUNK)
        order = np.argsort(-scores[part], axis=1, kind="stable")
        before = np.cumsum(sizes[order], axis=1) - sizes[order]
        opened = np.zeros(order.shape, dtype=bool)
        np.put_along_axis(opened, order, before < budget, axis=1)
        inside = np.take_along_axis(opened[:, None, :], np.maximum(answers[part], 0), axis=2)
        shares.append((inside & (answers[part] >= 0)).any(axis=2).mean(axis=1))
    return np.concatenate(shares)


def tune_sharpness(
    queries: Floats, *, leaves: Codes, centroids: Floats, targets: Codes, weights: Floats
) -> float:
    """The sharpness with which geometry alone, shared level by level, gives the targets the highest probability.

    queries (n, d), leaves (L,) with centroids (L, d), targets (n, t) as rows of leaves and their weights (n, t).
    """
    queries, targets, weights = queries[:_TUNED], targets[:_TUNED], weights[:_TUNED]
    spread = max(float((queries @ centroids.T).std(axis=1).mean()), 1e-6)

    def likelihood(sharpness: float) -> float:
        found = path_log_probabilities(
            queries,
            np.zeros((len(queries), 3, 1), dtype=np.float32),
            lambda level: _NO_NODES,
            leaves=leaves,
            centroids=centroids,
            sharpness=sharpness,
        )
        return float((np.take_along_axis(found[-1], np.maximum(targets, 0), axis=1) * weights).sum())

    return max((step / spread for step in _SHARPNESSES), key=likelihood)


_NO_NODES = Nodes(np.zeros(0, np.int64), np.zeros((0, 1), np.float32), np.zeros(0, np.float32))
