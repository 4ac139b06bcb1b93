"""The canary: sessions whose lists both models made, counted as they come, until they decide.

Promotion is looked at twice only: who looks after each session meets chance at two standard errors sooner or later.
A roll-back is looked for after each session, from some on: to give up a candidate for nothing costs little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import orjson

from streams.errors import GateError

if TYPE_CHECKING:
    from models.bundles import GateResult

CanaryVerdict = Literal["undecided", "promote", "roll_back", "drop"]


@dataclass(frozen=True)
class CanaryRules:
    """When a canary is decided. Sessions without a winner count as sessions."""

    looks: tuple[int, ...] = (1_000, 2_000)
    """After so many sessions promotion is looked at; not promoted at the last, it is dropped."""
    least: int = 100
    """A roll-back needs so many."""
    z: float = 2.0


RULES = CanaryRules()


@dataclass(frozen=True, slots=True)
class Canary:
    """Counts of sessions: all, won by the candidate, won by the incumbent; and what they decided, which stays.

    A value: `after` makes the next one. The same sessions in the same order decide the same, whatever batches they
    came in.
    """

    sessions: int = 0
    won: int = 0
    lost: int = 0
    verdict: CanaryVerdict = "undecided"

    def after(self, scores: Iterable[int], rules: CanaryRules = RULES) -> Canary:
        """After more sessions, scored by `session_score`. Once decided, it counts no more. Raises GateError."""
        state = self
        if state.verdict != "undecided":
            return state
        for score in scores:
            if score not in (-1, 0, 1):
                raise GateError(f"a session has the score {score}: it is -1, 0 or 1", field="scores")
            state = Canary(state.sessions + 1, state.won + (score > 0), state.lost + (score < 0))
            verdict = _decided(state, rules)
            if verdict != "undecided":
                return replace(state, verdict=verdict)
        return state

    @property
    def z(self) -> float:
        """Mean score in standard errors; 0 while nobody has won."""
        difference = self.won - self.lost
        if not difference:
            return 0.0
        spread = self.won + self.lost - difference**2 / self.sessions
        return difference / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, difference)

    def result(self) -> GateResult:
        """For the manifest of a bundle."""
        from models.bundles import GateResult  # a bundle takes longer to import than all gates

        figures = {"sessions": float(self.sessions), "won": float(self.won), "lost": float(self.lost)}
        if math.isfinite(self.z):
            figures["z"] = self.z
        return GateResult(passed=self.verdict == "promote", figures=figures)

    def encode(self) -> bytes:
        """As a row of a shard."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Canary:
        return cls(**orjson.loads(value))


def _decided(state: Canary, rules: CanaryRules) -> CanaryVerdict:
    if state.sessions >= rules.least and state.z <= -rules.z:
        return "roll_back"
    if state.sessions in rules.looks and state.z >= rules.z:
        return "promote"
    return "drop" if state.sessions >= rules.looks[-1] else "undecided"
