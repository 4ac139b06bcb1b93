"""Held-out clicks: whether people would find what they clicked higher up.

Each shown document has an estimate of its worth that position does not distort: click / p, less what noise brings
(Joachims, Swaminathan and Schnabel, WSDM 2017, with a correction for noise). A candidate that moves worth up gains.
Estimates by the incumbent's own clicks alone are no gate: in simulations SNIPS refused every good candidate and
click likelihood most of them, for what the incumbent never showed has no clicks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.gates.bootstrap import RESAMPLES, least_rate, lower_bound, resampled_sums
from models.gates.decision import Check, Decision, Outcome
from models.gates.ranks import Floats, check_lengths, checked_ranks, checked_within, discounts
from streams.errors import GateError

LOWEST = 0.2
"""Share of the shown documents that are taken for noise at most: those that the incumbent scores lowest."""
_ENOUGH = 30
"""Clicks that tell the rate to a fifth."""
_LEAST_P = 1e-6


@dataclass(frozen=True)
class ClickLimits:
    """What the gate asks for."""

    clicks: int = 800
    """Fewer held-out clicks decide nothing."""
    change: float = 0.0
    """Where the lower bound of the change is above it, clicks speak for the candidate."""
    harm: float = -0.05
    """Where it is below this, they speak against it; in between they decide nothing."""
    weight: float = 3.0
    """A click at position k counts 1 / p, at most so much: clicks far down are few, and mostly noise."""
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class HeldOutClicks:
    """Of each of n shown documents: where, what people did, and its rank under both models.

    session, answer: numbers (n,) of the session and of the list that it was shown in. examination: probability that
    its position was looked at, above 0. clicked: 0 or 1. weight: 1, or less where the list answered the query that
    rephrased this one. incumbent, candidate: ranks from 1, infinity where it is not found. Raises GateError when
    arrays do not fit.
    """

    session: ArrayLike
    answer: ArrayLike
    examination: ArrayLike
    clicked: ArrayLike
    weight: ArrayLike
    incumbent: ArrayLike
    candidate: ArrayLike

    def __post_init__(self) -> None:
        check_lengths(
            session=self.sessions,
            answer=np.asarray(self.answer),
            examination=self.p,
            clicked=self.clicks,
            weight=self.weights,
            incumbent=self.before,
            candidate=self.after,
        )

    @cached_property
    def sessions(self) -> NDArray[np.int64]:
        """Numbers (n,) of sessions, from 0 without gaps."""
        return np.unique(np.asarray(self.session), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def p(self) -> Floats:
        return checked_within("examination", self.examination, _LEAST_P, 1)

    @cached_property
    def clicks(self) -> Floats:
        found = checked_within("clicked", self.clicked, 0, 1)
        if not np.all((found == 0) | (found == 1)):
            raise GateError("clicked has values other than 0 and 1", field="clicked")
        return found

    @cached_property
    def weights(self) -> Floats:
        return checked_within("weight", self.weight, 0, 1)

    @cached_property
    def before(self) -> Floats:
        """Ranks (n,) under the incumbent."""
        return checked_ranks("incumbent", self.incumbent)

    @cached_property
    def after(self) -> Floats:
        """Ranks (n,) under the candidate."""
        return checked_ranks("candidate", self.candidate)

    @property
    def count(self) -> int:
        """Clicks, each once: those that count for the query before as well are not counted again."""
        return int(self.clicks[self.weights == 1].sum())


@dataclass(frozen=True)
class NoiseRate:
    """How often what is looked at is clicked for no reason. rate: the lower end of what the clicks allow (5 %), to
    judge by; estimate: clicks / looks, the sum of the probabilities that they were looked at."""

    rate: float
    estimate: float
    clicks: float
    looks: float


def estimate_noise(clicked: ArrayLike, examination: ArrayLike, score: ArrayLike) -> NoiseRate:
    """From what the incumbent scores lowest: (n,) shown documents at positions that chance decided.

    score: of the incumbent, comparable between queries. As many of the lowest are taken as bring 30 clicks, and a
    fifth at most: among them are some that people want, fewer the lower. Never rounded up: with too high a rate
    every demotion earns credit, and a memory of shuffled labels passes; with too low a one good candidates are
    refused. Without clicks the rate is 0. Raises GateError.
    """
    clicks = checked_within("clicked", clicked, 0, 1)
    p = checked_within("examination", examination, _LEAST_P, 1)
    scores = checked_within("score", score, -np.inf, np.inf)
    check_lengths(clicked=clicks, examination=p, score=scores)
    low = _lowest(clicks, scores)
    found, looks = float(clicks[low].sum()), float(p[low].sum())
    if not found:
        return NoiseRate(0.0, 0.0, found, looks)
    return NoiseRate(least_rate(found) / looks, found / looks, found, looks)


def _lowest(clicks: Floats, scores: Floats) -> NDArray[np.bool_]:
    if not clicks.any():
        return np.ones(len(clicks), dtype=np.bool_)
    of_clicks = np.sort(scores[clicks == 1])
    with_enough = of_clicks[min(_ENOUGH, len(of_clicks)) - 1]
    return np.asarray(scores <= min(with_enough, np.quantile(scores, LOWEST)))


def judge_clicks(
    clicks: HeldOutClicks, *, noise: float, limits: ClickLimits | None = None, seed: int = 0
) -> Decision:
    """Passes when the lower bound of the change of utility is above 0, refuses when it is below -3 %.

    In between, and with few clicks, it is inconclusive.

    utility = sum of weight * min(1/p, 3) * (click - noise * p) * discount of the rank, with a bootstrap over whole
    sessions; the change is in relation to the incumbent's. noise: from `estimate_noise`. Raises GateError.
    """
    limits = limits or ClickLimits()
    checked_within("noise", [noise], 0, 1)
    counts = {"clicks": float(clicks.count), "noise": float(noise)}
    if clicks.count < limits.clicks:
        sentence = f"{clicks.count:,} held-out clicks decide nothing; from {limits.clicks:,} on they do."
        return Decision("clicks", "inconclusive", sentence, counts=counts)
    worth = clicks.weights * np.minimum(1 / clicks.p, limits.weight) * (clicks.clicks - noise * clicks.p)
    now = float((worth * discounts(clicks.before)).sum())
    if now <= 0:
        sentence = "What the incumbent shows is worth no more than noise: the noise rate cannot be right."
        return Decision("clicks", "refuse", sentence, counts=counts)
    gains = worth * (discounts(clicks.after) - discounts(clicks.before))
    by_session = np.bincount(clicks.sessions, gains).astype(np.float64)
    drawn = resampled_sums(by_session, seed=seed, resamples=limits.resamples) / now
    check = Check("utility_change", float(gains.sum()) / now, lower_bound(drawn), limits.change, "above")
    outcome: Outcome = "pass" if check.holds else "inconclusive" if check.bound >= limits.harm else "refuse"
    told = f"{check.value:+.1%}, perhaps {check.bound:+.1%}"
    sentences: dict[Outcome, str] = {
        "pass": f"What people clicked moves up: {check.value:+.1%}, at least {check.bound:+.1%}.",
        "inconclusive": f"What people clicked moves little: {told}.",
        "refuse": f"What people clicked may move down: {told}.",
    }
    return Decision("clicks", outcome, sentences[outcome], [check], counts, {"utility_change": drawn})
