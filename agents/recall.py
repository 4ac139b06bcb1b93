"""Sampled exact recall: how many of the true nearest documents the generative path finds, as it stands now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from state.live_index import LiveIndex
from state.vector_rows import QueryArrays, ScoringPart, ScoringQuery
from streams.settings import SearchSettings

NEAREST = 10
SAMPLES = 200
"""Documents that the figure is the mean of: its standard error is then about 0.01."""
_SHORTLIST = 50


@dataclass
class SampledRecall:
    """Recall@10 of the last samples, and how it was when the epoch was young."""

    epoch: int = -1
    fresh: float | None = None
    """The mean of the first samples after the switch to the epoch."""
    _samples: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def now(self) -> float | None:
        """The mean of the last samples; None before there are enough."""
        return float(np.mean(self._samples)) if len(self._samples) == SAMPLES else None

    @property
    def drop(self) -> float:
        """By how much it fell since the epoch was young."""
        return 0.0 if self.now is None or self.fresh is None else self.fresh - self.now

    def add(self, epoch: int, samples: list[float]) -> None:
        """Take in samples of the active epoch."""
        if epoch != self.epoch:
            self.epoch, self.fresh = epoch, None
            self._samples.clear()
        self._samples.extend(samples)
        if self.fresh is None:
            self.fresh = self.now


def sample_recall(
    index: LiveIndex, settings: SearchSettings, *, documents: int, random: np.random.Generator
) -> list[float]:
    """Recall@10 of random documents as queries, each without itself, against an exact search of all."""
    slots = np.array(list(index.every()), dtype=np.int64)
    path = index.active_path()
    if path is None or len(slots) <= NEAREST:
        return []
    found = []
    for slot in random.choice(slots, documents).tolist():
        with index.reading():
            vectors = index.fused(np.array([slot]))
            if not len(vectors):
                continue
            query = ScoringQuery([ScoringPart(vectors[0])]).arrays(index.dimension)
            every, scores = index.score(query)
            exact = _best(index, query, every, scores, without=slot)
            walked = path.search(
                index.rows_arrays,
                query,
                vectors[0],
                leaves=settings.leaves,
                members=settings.members,
                shortlist=_SHORTLIST,
                beam=settings.beam,
            )
            generated = _best(index, query, walked.slots, walked.scores, without=slot)
        found.append(len(exact & generated) / max(1, len(exact)))
    return found


def _best(
    index: LiveIndex,
    query: QueryArrays,
    slots: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    without: int,
) -> set[int]:
    if len(slots) > _SHORTLIST:
        slots = slots[np.argpartition(-scores, _SHORTLIST)[:_SHORTLIST]]
    slots = slots[slots != without]
    exact = index.parts(query, slots)[0]
    return set(slots[np.argsort(-np.nan_to_num(exact, nan=-np.inf), kind="stable")[:NEAREST]].tolist())
