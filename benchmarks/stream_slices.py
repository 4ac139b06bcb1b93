"""Which rows of the corpus come when: a base, slices of topics that are new to it, then rows of all topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

SLICES = 5
NEW_SHARE = 0.1


@dataclass(frozen=True)
class Slices:
    """rows: those of the base, then of each slice; queries: rows that never come, about the topics of each.

    since, young: rows of all topics alike that come after the slices, first these, then those. topics: how many
    topics the base and each slice have.
    """

    rows: list[Rows]
    queries: list[Rows]
    since: Rows
    young: Rows
    topics: list[int]


def sliced(whole: corpus.Corpus, *, rows: int, queries: int, young: int, seed: int) -> Slices:
    """`rows` rows in a base and five slices, and twice `young` more. Repeatable for a seed."""
    random = np.random.default_rng(seed)
    of_topic = _slice_of_topics(whole.topics, random)
    slice_of = of_topic[whole.topics]
    order = random.permutation(len(whole.topics))
    there, rest = order[:rows], order[rows:]
    asked = [random.permutation(rest[slice_of[rest] == number])[:queries] for number in range(SLICES + 1)]
    left = random.permutation(np.setdiff1d(rest, np.concatenate(asked)))
    return Slices(
        rows=[there[slice_of[there] == number] for number in range(SLICES + 1)],
        queries=asked,
        since=left[:young],
        young=left[young : 2 * young],
        topics=np.bincount(of_topic, minlength=SLICES + 1).tolist(),
    )


def _slice_of_topics(topics: NDArray[np.int32], random: np.random.Generator) -> Rows:
    """The slice of each topic, 0 for the base: random topics until each slice has its share of the rows."""
    sizes = np.bincount(topics)
    slices = np.zeros(len(sizes), dtype=np.int64)
    names = iter(random.permutation(np.flatnonzero(sizes)).tolist())
    for number in range(1, SLICES + 1):
        count = 0
        while count < NEW_SHARE / SLICES * len(topics):
            topic = next(names)
            slices[topic] = number
            count += int(sizes[topic])
    return slices
