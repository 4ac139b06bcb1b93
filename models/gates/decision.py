"""What a gate says, with the figures that it says it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.gates.ranks import Floats

if TYPE_CHECKING:
    from models.bundles import GateResult

Gate = Literal["guard", "clicks", "exposure"]
Outcome = Literal["pass", "refuse", "inconclusive"]


@dataclass(frozen=True)
class Check:
    """One comparison. value: as measured; bound: what of it is compared, often a lower bound; limit: with what."""

    name: str
    value: float
    bound: float
    limit: float
    rule: Literal["at least", "above", "below"]

    @property
    def holds(self) -> bool:
        if self.rule == "at least":
            return self.bound >= self.limit
        return self.bound > self.limit if self.rule == "above" else self.bound < self.limit


@dataclass(frozen=True)
class Decision:
    """What one gate says. counts: how much it says it by; resampled: bootstrapped changes, for plots."""

    gate: Gate
    outcome: Outcome
    sentence: str
    checks: Sequence[Check] = ()
    counts: Mapping[str, float] = field(default_factory=dict)
    resampled: Mapping[str, Floats] = field(default_factory=dict, repr=False, compare=False)

    def result(self) -> GateResult:
        """For the manifest of a bundle. An inconclusive gate did not pass, and says so by `inconclusive`."""
        from models.bundles import GateResult  # a bundle takes longer to import than all gates

        figures = dict(self.counts)
        for check in self.checks:
            figures[check.name] = check.value
            figures[f"{check.name}_bound"] = check.bound
            figures[f"{check.name}_limit"] = check.limit
        if self.outcome == "inconclusive":
            figures["inconclusive"] = 1.0
        return GateResult(passed=self.outcome == "pass", figures=figures)
