"""Later steps of a rollout (25, 50, 100 %): two arms of sessions, each answered by one model alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from streams.errors import GateError

WideningVerdict = Literal["undecided", "widen", "roll_back"]


@dataclass(frozen=True)
class Arm:
    """Counts of one arm. slow: answers that took longer than the caller calls slow. Raises GateError."""

    sessions: int
    clicked: int
    """Sessions with a click."""
    answers: int
    failed: int
    slow: int

    def __post_init__(self) -> None:
        for part, whole in (("clicked", "sessions"), ("failed", "answers"), ("slow", "answers")):
            if not 0 <= getattr(self, part) <= getattr(self, whole):
                raise GateError(f"{part} is not from 0 to {whole}", field=part)


@dataclass(frozen=True)
class WideningRules:
    """What a step asks for. failed, slow: shares of answers above the incumbent's that are borne."""

    sessions: int = 1_000
    """Of each arm, after which a step is over."""
    failed: float = 0.01
    slow: float = 0.02
    z: float = 2.0
    """A harm of so many standard errors rolls back at the end of a step..."""
    early: float = 3.5
    """...and of so many at any time before: whoever looks often meets two by chance."""


def judge_step(candidate: Arm, incumbent: Arm, rules: WideningRules | None = None) -> WideningVerdict:
    """Whether the next step may follow: sessions with a click, failed and slow answers of two arms are compared."""
    rules = rules or WideningRules()
    is_over = min(candidate.sessions, incumbent.sessions) >= rules.sessions
    harms = [
        z_of_shares(incumbent.clicked, incumbent.sessions, candidate.clicked, candidate.sessions),
        _excess(candidate.failed, candidate.answers, incumbent.failed, incumbent.answers, rules.failed),
        _excess(candidate.slow, candidate.answers, incumbent.slow, incumbent.answers, rules.slow),
    ]
    if max(harms) >= (rules.z if is_over else rules.early):
        return "roll_back"
    return "widen" if is_over else "undecided"


def _excess(part: int, whole: int, known: int, of_known: int, borne: float) -> float:
    """By how many standard errors a share is above the incumbent's; 0 where that is borne."""
    if not whole or not of_known or part / whole - known / of_known <= borne:
        return 0.0
    return z_of_shares(part, whole, known, of_known)


def z_of_shares(first: int, of_first: int, second: int, of_second: int) -> float:
    """Difference of two shares in standard errors (two-proportion z-test, pooled); 0 where it cannot be told.

    With Yates' correction: one failure among few answers would be many standard errors without it.
    """
    if not of_first or not of_second:
        return 0.0
    pooled = (first + second) / (of_first + of_second)
    error = math.sqrt(pooled * (1 - pooled) * (1 / of_first + 1 / of_second))
    difference = first / of_first - second / of_second
    corrected = max(0.0, abs(difference) - (1 / of_first + 1 / of_second) / 2)
    return math.copysign(corrected / error, difference) if error else 0.0
