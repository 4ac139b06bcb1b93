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
    """What a step asks for. Shares: of answers, above the incumbent's."""

    sessions: int = 1_000
    """Of each arm, before a step is over."""
    z: float = -2.0
    """Of the share of sessions with a click: must be above it."""
    failed: float = 0.01
    slow: float = 0.02
    surely: float = 2.0
    """A share that is above its bound counts from so many standard errors above the incumbent's on."""


def judge_step(candidate: Arm, incumbent: Arm, rules: WideningRules | None = None) -> WideningVerdict:
    """Whether the next step may follow. A clear harm rolls back at once, however few sessions there are."""
    rules = rules or WideningRules()
    for name in ("failed", "slow"):
        ours, theirs = getattr(candidate, name), getattr(incumbent, name)
        excess = _share(ours, candidate.answers) - _share(theirs, incumbent.answers)
        surely = z_of_shares(ours, candidate.answers, theirs, incumbent.answers) >= rules.surely
        if excess > getattr(rules, name) and surely:
            return "roll_back"
    z = z_of_shares(candidate.clicked, candidate.sessions, incumbent.clicked, incumbent.sessions)
    if z <= rules.z:
        return "roll_back"
    return "widen" if min(candidate.sessions, incumbent.sessions) >= rules.sessions else "undecided"


def z_of_shares(first: int, of_first: int, second: int, of_second: int) -> float:
    """Difference of two shares in standard errors, pooled (two-proportion z-test); 0 where it cannot be told."""
    if not of_first or not of_second:
        return 0.0
    pooled = (first + second) / (of_first + of_second)
    error = math.sqrt(pooled * (1 - pooled) * (1 / of_first + 1 / of_second))
    return (first / of_first - second / of_second) / error if error else 0.0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
