"""A stream of real vectors whose topics change: half of them are there from the beginning, the others are born.

The topics of the corpus are put into 40 groups. The first half of the stream holds only the early groups; of the
second half four fifths belong to groups that were never seen before, each born at its own time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import faiss
import numpy as np

from benchmarks import corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

GROUPS = 40
NEW_SHARE = 0.8
LAST_BIRTH = 0.6
"""A group is born at a random time in this part of the second half."""


@dataclass(frozen=True)
class Stream:
    """Rows of the corpus in the order they come (n,), and which of all rows are of topics born late (N,)."""

    rows: Rows
    late: NDArray[np.bool_]
    topics: NDArray[np.int32]
    left_out: Rows

    def queries(self, first: int, count: int, seed: int) -> Rows:
        """Rows that never come, (count,), with the mix of topics of the first `first` rows of the stream."""
        random = np.random.default_rng(seed)
        wanted = self.topics[random.choice(self.rows[:first], 2 * count)]
        order = random.permutation(self.left_out)
        order = order[np.argsort(self.topics[order], kind="stable")]
        of_topic = self.topics[order]
        start, end = np.searchsorted(of_topic, wanted), np.searchsorted(of_topic, wanted, side="right")
        there = end > start
        picked = start[there] + (random.random(there.sum()) * (end - start)[there]).astype(np.int64)
        return order[picked[:count]]


def drifting(whole: corpus.Corpus, *, length: int, seed: int) -> Stream:
    """A stream of so many rows. Repeatable for a seed."""
    random = np.random.default_rng(seed)
    group_of = _groups(whole, seed)[whole.topics]
    late = np.isin(group_of, _late_groups(group_of, random))
    early_rows, late_rows = (
        random.permutation(np.flatnonzero(~late)),
        random.permutation(np.flatnonzero(late)),
    )
    half = length // 2
    new = late_rows[: round(NEW_SHARE * half)]
    births = random.random(GROUPS) * LAST_BIRTH
    born = births[group_of[new]]
    new = new[np.argsort(born + random.random(len(new)) * (1 - born))]
    old = early_rows[half : length - len(new)]
    times = np.concatenate([np.arange(len(new)) / len(new), random.random(len(old))])
    second = np.concatenate([new, old])[np.argsort(times, kind="stable")]
    rows = np.concatenate([early_rows[:half], second])
    return Stream(rows, late, whole.topics, np.setdiff1d(np.arange(len(late)), rows))


def _groups(whole: corpus.Corpus, seed: int) -> Rows:
    """The group of each topic, by the mean of its rows."""
    means = np.zeros((int(whole.topics.max()) + 1, whole.vectors.shape[1]), dtype=np.float32)
    np.add.at(means, whole.topics, whole.vectors)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    library = faiss.Kmeans(means.shape[1], GROUPS, niter=20, seed=seed, min_points_per_centroid=1)
    library.train(means)
    return np.asarray(library.index.search(means, 1)[1][:, 0], dtype=np.int64)


def _late_groups(group_of: Rows, random: np.random.Generator) -> list[int]:
    """Groups at random until they hold half of all rows."""
    late: list[int] = []
    for group in random.permutation(GROUPS).tolist():
        if np.isin(group_of, late).sum() < len(group_of) / 2:
            late.append(group)
    return late
