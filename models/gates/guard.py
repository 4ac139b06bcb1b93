"""The guard: what nobody clicked for must not get worse.

Known-item queries, made from the catalogue: each wants one document. A model that learns from clicks and forgets
the rest is seen here and hardly anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.gates.bootstrap import RESAMPLES, lower_bound, resampled_sums
from models.gates.decision import Check, Decision
from models.gates.ranks import Floats, check_lengths, checked_ranks, discounts


@dataclass(frozen=True)
class GuardLimits:
    """What the guard asks for. Changes are relative: 0.01 is one per cent of the incumbent's figure."""

    queries: int = 1_500
    """Fewer say too little, and the candidate is refused."""
    absent: int = 750
    """From so many queries in languages that do not occur in the log on, they must hold by themselves too."""
    ndcg: float = -0.01
    mrr: float = -0.025
    """Lower bounds of the change must not be below these. MRR moves more: one rank at the top is half of it."""
    resamples: int = RESAMPLES


@dataclass(frozen=True)
class GuardQueries:
    """Of each of q queries the rank of the one document that it wants, from 1, infinity where it is not found.

    in_log: whether the language of the query occurs in the log. Raises GateError when arrays do not fit.
    """

    incumbent: ArrayLike
    candidate: ArrayLike
    in_log: ArrayLike

    def __post_init__(self) -> None:
        check_lengths(incumbent=self.before, candidate=self.after, in_log=self.is_in_log)

    @cached_property
    def before(self) -> Floats:
        """Ranks (q,) of the incumbent."""
        return checked_ranks("incumbent", self.incumbent)

    @cached_property
    def after(self) -> Floats:
        """Ranks (q,) of the candidate."""
        return checked_ranks("candidate", self.candidate)

    @cached_property
    def is_in_log(self) -> NDArray[np.bool_]:
        return np.asarray(self.in_log, dtype=np.bool_)

    @cached_property
    def ndcg_change(self) -> Floats:
        """Change (q,) of nDCG@10."""
        return discounts(self.after) - discounts(self.before)

    def absent(self) -> GuardQueries:
        """Those in languages that do not occur in the log."""
        kept = ~self.is_in_log
        return GuardQueries(self.before[kept], self.after[kept], self.is_in_log[kept])

    def __len__(self) -> int:
        return len(self.before)


def judge_guard(queries: GuardQueries, limits: GuardLimits | None = None, *, seed: int = 0) -> Decision:
    """Refuses fewer queries than wanted, and changes whose 5 % lower bounds are too low.

    Paired bootstrap over queries of the change of nDCG@10 and of MRR, in relation to the incumbent's.
    """
    limits = limits or GuardLimits()
    absent = queries.absent()
    counts = {"queries": float(len(queries)), "absent_queries": float(len(absent))}
    if len(queries) < limits.queries:
        sentence = f"{len(queries):,} known-item queries say too little; {limits.queries:,} are needed."
        return Decision("guard", "refuse", sentence, counts=counts)
    if not np.any(discounts(queries.before)):
        sentence = (
            "The incumbent finds none of the documents within ten hits, so nothing can be compared with it."
        )
        return Decision("guard", "refuse", sentence, counts=counts)
    checks, resampled = _compared("", queries, limits, seed)
    if len(absent) >= limits.absent and len(absent) < len(queries) and np.any(discounts(absent.before)):
        more, also = _compared("absent_", absent, limits, seed)
        checks, resampled = checks + more, resampled | also
    broken = [check for check in checks if not check.holds]
    sentence = (
        f"{_said(broken[0])}: what nobody clicked for would get worse."
        if broken
        else f"Over {len(queries):,} queries that nobody clicked for nothing is lost."
    )
    return Decision("guard", "refuse" if broken else "pass", sentence, checks, counts, resampled)


def _compared(
    prefix: str, queries: GuardQueries, limits: GuardLimits, seed: int
) -> tuple[list[Check], dict[str, Floats]]:
    checks, resampled = [], {}
    for name, before, after, limit in (
        ("ndcg", discounts(queries.before), discounts(queries.after), limits.ndcg),
        ("mrr", 1 / queries.before, 1 / queries.after, limits.mrr),
    ):
        changes, whole = after - before, float(before.sum())
        drawn = resampled_sums(changes, seed=seed, resamples=limits.resamples) / whole
        name = f"{prefix}{name}_change"
        resampled[name] = drawn
        value = float(changes.sum()) / whole
        checks.append(Check(name, value, lower_bound(drawn), limit, "at least"))
    return checks, resampled


def _said(check: Check) -> str:
    where = " in languages that do not occur in the log" if check.name.startswith("absent_") else ""
    what = "nDCG@10" if "ndcg" in check.name else "MRR"
    return (
        f"{what}{where} changes by {check.value:+.1%}, perhaps {check.bound:+.1%}, below {check.limit:+.1%}"
    )
