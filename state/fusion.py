"""Fusing what several paths found into one ranking, in which each document keeps each path's part.

Weighted sum (the default): calibrated scores, each times the weight of its measure. Convex combinations of scores
beat ranks where scores can be compared between queries: Bruch, Gai and Ingber, "An Analysis of Fusion Functions
for Hybrid Retrieval", 2023. Reciprocal rank fusion needs no calibration: Cormack, Clarke and Büttcher, "Reciprocal
Rank Fusion outperforms Condorcet and individual Rank Learning Methods", 2009. Measured in `benchmarks/README.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Path = Literal["generative", "dense", "lexical"]
Measure = Literal["vector", "lexical"]
PATHS: tuple[Path, ...] = get_args(Path)
MEASURES: Mapping[Path, Measure] = {"generative": "vector", "dense": "vector", "lexical": "lexical"}
"""Paths of one measure score alike: each document's best score counts once, for the path that gave it."""
_BEYOND = 0.1


class MeasureWeight(BaseModel):
    """A score s counts weight * s ** power. A power above 1 trusts high scores more than in proportion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=1.0, ge=0)
    power: float = Field(default=1.0, gt=0)
    missing: Literal["last", "nothing"] = "last"
    """What a document counts that is not in the list: as the last one in it, or nothing."""
    trusted: int | None = Field(default=None, ge=1)
    """So many of the best scores count in full. Further down, differences say little: a tenth of them counts."""


class FusionWeights(BaseModel):
    """How paths are fused; goes into a bundle as JSON. The defaults are tuned by `trieflow bench fusion`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["weighted", "reciprocal_rank"] = "weighted"
    vector: MeasureWeight = MeasureWeight(trusted=20)
    lexical: MeasureWeight = MeasureWeight(weight=20.0, power=2.0, missing="nothing")
    rank_constant: float = Field(default=60.0, gt=0)

    def of(self, measure: Measure) -> MeasureWeight:
        return self.vector if measure == "vector" else self.lexical


@dataclass(frozen=True, slots=True)
class RankedList:
    """What one path found: distinct slots (n,) and calibrated scores (n,), best first."""

    path: Path
    slots: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fused:
    """Slots (n,) and scores (n,), best first; `parts` (n,) by path, in order of PATHS, sum to the scores."""

    slots: NDArray[np.int64]
    scores: NDArray[np.float64]
    parts: Mapping[Path, NDArray[np.float64]]


def fuse(lists: Sequence[RankedList], weights: FusionWeights, k: int) -> Fused:
    """The k best of the documents in any list; equal scores in order of slots. At most one list for each path."""
    by_path = {found.path: found for found in lists}
    ordered = [by_path[path] for path in PATHS if path in by_path and len(by_path[path].slots)]
    slots = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(found.slots for found in ordered)]))
    parts: dict[Path, NDArray[np.float64]] = {found.path: np.zeros(len(slots)) for found in ordered}
    for measure in dict.fromkeys(MEASURES[found.path] for found in ordered):
        same = [found for found in ordered if MEASURES[found.path] == measure]
        _add(parts, slots, same, weights, measure)
    scores: NDArray[np.float64] = sum(parts.values(), np.zeros(len(slots)))
    best = np.lexsort((slots, -scores))[:k]
    return Fused(slots[best], scores[best], {path: part[best] for path, part in parts.items()})


def _add(
    parts: Mapping[Path, NDArray[np.float64]],
    slots: NDArray[np.int64],
    same: Sequence[RankedList],
    weights: FusionWeights,
    measure: Measure,
) -> None:
    """Write what a measure gives into the parts of the paths that it comes from."""
    scored = np.full((len(same), len(slots)), -np.inf)
    for row, found in enumerate(same):
        scored[row, np.searchsorted(slots, found.slots)] = found.scores
    best = scored.max(axis=0)
    values = (
        _by_rank(best, weights)
        if weights.method == "reciprocal_rank"
        else _by_score(best, weights.of(measure))
    )
    # A document that no path of the measure found is counted with the first of them.
    origin = scored.argmax(axis=0)
    for row, found in enumerate(same):
        parts[found.path][:] = np.where(origin == row, values, 0.0)


def _by_score(best: NDArray[np.float64], weight: MeasureWeight) -> NDArray[np.float64]:
    """weight * s ** power, with the sign of s; best is -inf where a document is missing."""
    is_found = np.isfinite(best)
    found = best[is_found]
    score = np.full(len(best), found.min() if weight.missing == "last" else 0.0)
    score[is_found] = found
    if weight.trusted is not None and weight.trusted < len(found):
        least = np.partition(found, -weight.trusted)[-weight.trusted]
        score = np.where(score < least, least - (least - score) * _BEYOND, score)
    return np.asarray(weight.weight * np.sign(score) * np.abs(score) ** weight.power)


def _by_rank(best: NDArray[np.float64], weights: FusionWeights) -> NDArray[np.float64]:
    """1 / (constant + rank), ranks from 1; equal scores share the better rank. Nothing for a missing document."""
    is_found = np.isfinite(best)
    falling = np.sort(-best[is_found])
    values = np.zeros(len(best))
    values[is_found] = 1.0 / (weights.rank_constant + 1 + np.searchsorted(falling, -best[is_found]))
    return values
