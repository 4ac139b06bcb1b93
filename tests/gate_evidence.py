"""Evidence for the gates whose right answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.gates.clicks import HeldOutClicks
from models.gates.exposure import TopLists
from models.gates.guard import GuardQueries
from models.gates.verdict import Evidence

NOISE = 0.05
DOCUMENTS = 200


def guard_of(before: NDArray[np.float64], after: NDArray[np.float64]) -> GuardQueries:
    """None of the queries in a language of the log."""
    return GuardQueries(before, after, np.zeros(len(before), dtype=np.bool_))


def guard_ranks(count: int = 1_500, seed: int = 1) -> NDArray[np.float64]:
    """Half of them first, others anywhere in the first sixty."""
    chance = np.random.default_rng(seed)
    return np.where(chance.random(count) < 0.5, 1.0, chance.integers(1, 60, count))


def clicks_on(sessions: int = 3_000, seed: int = 2) -> HeldOutClicks:
    """Lists of ten, of which one at a random position is wanted; the candidate is the incumbent."""
    chance = np.random.default_rng(seed)
    positions = np.tile(np.arange(1.0, 11.0), sessions)
    wanted = np.zeros((sessions, 10), dtype=np.bool_)
    wanted[np.arange(sessions), chance.integers(10, size=sessions)] = True
    attraction = np.where(wanted.ravel(), 0.8, NOISE)
    looked_at = chance.random(len(positions)) < 1 / positions
    session = np.repeat(np.arange(sessions), 10)
    return HeldOutClicks(
        session=session,
        answer=session,
        examination=1 / positions,
        clicked=looked_at & (chance.random(len(positions)) < attraction),
        weight=np.ones(len(positions)),
        incumbent=positions,
        candidate=positions,
    )


def better(clicks: HeldOutClicks) -> HeldOutClicks:
    """The same with each clicked document first, others one lower."""
    return replace(clicks, candidate=np.where(clicks.clicks == 1, 1.0, clicks.before + 1))


def worse(clicks: HeldOutClicks) -> HeldOutClicks:
    """The same with each clicked document last."""
    return replace(clicks, candidate=np.where(clicks.clicks == 1, 10.0, clicks.before))


def lists_of(queries: int = 300, seed: int = 3) -> TopLists:
    """Ten different documents each; the candidate is the incumbent."""
    chance = np.random.default_rng(seed)
    lists = np.stack([chance.permutation(DOCUMENTS)[:10] for _ in range(queries)])
    return TopLists(lists, lists, chance.integers(1, 9, size=queries))


def evidence() -> Evidence:
    """Of a candidate that moves clicked documents up and nothing else."""
    ranks = guard_ranks()
    return Evidence(guard_of(ranks, ranks), better(clicks_on()), NOISE, lists_of())
