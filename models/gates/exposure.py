"""Exposure: no document may come up everywhere at once, as one does that somebody clicks in every list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.gates.decision import Check, Decision
from models.gates.ranks import DEPTH, Floats, check_lengths, checked_within
from streams.errors import GateError

NOTHING = -1
"""Fills lists of fewer than ten hits."""
_HEAD = 0.1


@dataclass(frozen=True)
class TopLists:
    """The first hits of both models for each of q queries of the log.

    incumbent, candidate: numbers of documents (q, up to 10), any from 0, `NOTHING` where there is no hit. asked:
    how often each query was asked. Raises GateError when arrays do not fit.
    """

    incumbent: ArrayLike
    candidate: ArrayLike
    asked: ArrayLike

    def __post_init__(self) -> None:
        check_lengths(incumbent=self.before, candidate=self.after, asked=self.times)

    @cached_property
    def before(self) -> NDArray[np.int64]:
        return _checked_lists("incumbent", self.incumbent)

    @cached_property
    def after(self) -> NDArray[np.int64]:
        return _checked_lists("candidate", self.candidate)

    @cached_property
    def times(self) -> Floats:
        return checked_within("asked", self.asked, 0, np.finfo(np.float64).max)

    @cached_property
    def documents(self) -> NDArray[np.int64]:
        """Numbers (d,) of the documents that either shows, ascending."""
        return np.setdiff1d(np.concatenate([self.before.ravel(), self.after.ravel()]), [NOTHING])

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Share of the lists that each of `documents` stands in, (d,); before and after."""
        whole = max(float(self.times.sum()), 1.0)
        before, after = (self._counted(lists) / whole for lists in (self.before, self.after))
        return before, after

    def _counted(self, lists: NDArray[np.int64]) -> Floats:
        """How many lists hold each document; one counts once in a list."""
        ordered = np.sort(lists, axis=1)
        kept = ordered != NOTHING
        kept[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        places = np.searchsorted(self.documents, ordered[kept])
        weights = np.broadcast_to(self.times[:, None], ordered.shape)[kept]
        return np.bincount(places, weights, minlength=len(self.documents)).astype(np.float64)


@dataclass(frozen=True)
class Spread:
    """How exposure is spread. tail_coverage: share of the documents outside the incumbent's top tenth by exposure
    that are shown at all. gini: of exposure over all documents, 0: all alike, 1: one has it all."""

    tail_coverage: float
    gini: float


def judge_exposure(lists: TopLists, *, rise: float = 0.07) -> Decision:
    """Refuses when the share of lists with some document rises by `rise` or more, and when there are no lists."""
    counts = {"lists": float(lists.times.sum()), "queries": float(len(lists.times))}
    before, after = lists.shares
    if not counts["lists"] or not len(before):
        return Decision("exposure", "refuse", "There are no lists to compare.", counts=counts)
    rises = after - before
    most = int(np.argmax(rises))
    check = Check("rise", float(rises[most]), float(rises[most]), rise, "below")
    sentence = (
        f"No document comes up much more often: the largest rise is {check.value:.1%} of the lists."
        if check.holds
        else f"Document {lists.documents[most]} would be in {after[most]:.1%} of lists, now in {before[most]:.1%}."
    )
    return Decision("exposure", "pass" if check.holds else "refuse", sentence, [check], counts)


def spread_of(lists: TopLists, *, documents: int) -> tuple[Spread, Spread]:
    """Before and after; `documents`: how many there are, shown or not. Raises GateError when more are shown."""
    before, after = lists.shares
    if len(before) > documents:
        raise GateError(
            f"{len(before)} documents are shown, {documents} are said to exist", field="documents"
        )
    padded = [np.pad(shares, (0, documents - len(shares))) for shares in (before, after)]
    head = np.argsort(-padded[0], kind="stable")[: round(documents * _HEAD)]
    tail = np.ones(documents, dtype=np.bool_)
    tail[head] = False
    of_before, of_after = (
        Spread(float(np.mean(shares[tail] > 0)) if tail.any() else 0.0, gini(shares)) for shares in padded
    )
    return of_before, of_after


def gini(values: Floats) -> float:
    """The Gini coefficient of values (n,) of at least 0; 0 when there is nothing to share."""
    count, whole = len(values), float(values.sum())
    if not whole:
        return 0.0
    return float(
        2 * (np.arange(1, count + 1) * np.sort(values)).sum() / (count * whole) - (count + 1) / count
    )


def _checked_lists(name: str, lists: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(lists)
    if found.ndim != 2 or found.shape[1] > DEPTH:
        raise GateError(f"{name} is {found.shape}, expected is (queries, up to {DEPTH})", field=name)
    if found.size and (not np.issubdtype(found.dtype, np.integer) or found.min() < NOTHING):
        raise GateError(f"{name} has what is no number of a document: whole numbers from 0", field=name)
    return found.astype(np.int64)
