"""Measuring several candidates in one run, in turns, so that all meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_FEWEST_CALLS = 3


@dataclass
class Timing:
    """Seconds of single calls, by round."""

    rounds: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Over all calls of all rounds, seconds."""
        return float(np.quantile(np.concatenate(self.rounds), share))

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest median of a round, seconds."""
        medians = [float(np.median(calls)) for calls in self.rounds]
        return min(medians), max(medians)

    @property
    def calls(self) -> int:
        return sum(map(len, self.rounds))

    def summary(self, *, unit_s: float, per_call: int = 1) -> dict[str, float]:
        """p50, p99, spread and number of calls, in units of `unit_s` seconds for one of `per_call` items."""
        scale = unit_s * per_call
        low, high = self.spread
        return {
            "p50": self.quantile(0.5) / scale,
            "p99": self.quantile(0.99) / scale,
            "lowest_round": low / scale,
            "highest_round": high / scale,
            "calls": self.calls,
        }


def in_turns(
    candidates: Mapping[str, Callable[[int], object]], *, rounds: int, seconds: float
) -> dict[str, Timing]:
    """Call each candidate with 0, 1, 2 ... for `seconds` (three times at least), then the next, for some rounds.

    A round before the first, of three calls, is not counted: it warms caches and compiles.
    """
    timings = {name: Timing() for name in candidates}
    for call in candidates.values():
        for number in range(_FEWEST_CALLS):
            call(number)
    for _ in range(rounds):
        for name, call in candidates.items():
            timings[name].rounds.append(timed_calls(call, seconds=seconds))
    return timings


def timed_calls(call: Callable[[int], object], *, seconds: float, most: int = 1_000_000) -> list[float]:
    """Seconds of each call, one after the other until the time is up."""
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < most and (len(taken) < _FEWEST_CALLS or time.perf_counter() < until):
        started = time.perf_counter()
        call(len(taken))
        taken.append(time.perf_counter() - started)
    return taken


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the largest, in milliseconds, and how many there were."""
    values = np.asarray(seconds) * 1_000
    return {
        "p50_ms": float(np.quantile(values, 0.5)),
        "p99_ms": float(np.quantile(values, 0.99)),
        "max_ms": float(values.max()),
        "n": len(values),
    }
