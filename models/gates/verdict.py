"""The gates together: what may be served, and what only a canary may decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.gates.clicks import ClickLimits, HeldOutClicks, judge_clicks
from models.gates.decision import Decision, Gate
from models.gates.exposure import TopLists, judge_exposure
from models.gates.guard import GuardLimits, GuardQueries, judge_guard

if TYPE_CHECKING:
    from models.bundles import GateResult

Verdict = Literal["accept", "canary_only", "refuse"]
"""`canary_only`: nothing speaks against it, clicks do not surely speak for it, and the canary decides alone."""
GATES: tuple[Gate, ...] = ("guard", "clicks", "exposure")


@dataclass(frozen=True)
class Evidence:
    """What all gates judge by. noise: rate of clicks for no reason (`models.gates.clicks.estimate_noise`)."""

    guard: GuardQueries
    clicks: HeldOutClicks
    noise: float
    lists: TopLists


@dataclass(frozen=True)
class Limits:
    """What all gates ask for. rise: of the share of lists with one document, from which on it is refused."""

    guard: GuardLimits = field(default_factory=GuardLimits)
    clicks: ClickLimits = field(default_factory=ClickLimits)
    rise: float = 0.07


@dataclass(frozen=True)
class Judgement:
    """What the gates say of one candidate."""

    guard: Decision
    clicks: Decision
    exposure: Decision

    @property
    def decisions(self) -> tuple[Decision, Decision, Decision]:
        return self.guard, self.clicks, self.exposure

    @property
    def verdict(self) -> Verdict:
        outcomes = {decision.gate: decision.outcome for decision in self.decisions}
        return _verdict(outcomes["guard"], outcomes["clicks"], outcomes["exposure"])

    @property
    def refused_by(self) -> list[Gate]:
        return [decision.gate for decision in self.decisions if decision.outcome == "refuse"]

    @property
    def sentence(self) -> str:
        if self.verdict == "refuse":
            return f"Refused by {' and '.join(self.refused_by)}."
        if self.verdict == "canary_only":
            return (
                "Nothing speaks against it; clicks do not surely speak for it, so the canary alone decides."
            )
        return "Accepted: it goes to the canary, and clicks speak for it."

    @property
    def reasons(self) -> str:
        """The sentence, and of a refusal what each gate that refuses says."""
        said = [decision.sentence for decision in self.decisions if decision.outcome == "refuse"]
        return " ".join([self.sentence, *said])

    def results(self) -> dict[str, GateResult]:
        """For the manifest of a bundle; `verdict_of` reads it back."""
        return {decision.gate: decision.result() for decision in self.decisions}


def judge(evidence: Evidence, limits: Limits | None = None, *, seed: int = 0) -> Judgement:
    """Judge a candidate. The same evidence and seed give the same judgement, whatever the order of the rows."""
    limits = limits or Limits()
    return Judgement(
        guard=judge_guard(evidence.guard, limits.guard, seed=seed),
        clicks=judge_clicks(evidence.clicks, noise=evidence.noise, limits=limits.clicks, seed=seed),
        exposure=judge_exposure(evidence.lists, rise=limits.rise),
    )


def verdict_of(gates: Mapping[str, GateResult]) -> Verdict:
    """What the gates in a bundle's manifest say. A gate that is missing refuses."""
    return _verdict(*(_outcome(gates.get(name)) for name in GATES))


def _outcome(result: GateResult | None) -> str:
    if result is None:
        return "refuse"
    if result.passed:
        return "pass"
    return "inconclusive" if result.figures.get("inconclusive") == 1.0 else "refuse"


def _verdict(guard: str, clicks: str, exposure: str) -> Verdict:
    if (guard, exposure) != ("pass", "pass") or clicks not in ("pass", "inconclusive"):
        return "refuse"
    return "accept" if clicks == "pass" else "canary_only"
