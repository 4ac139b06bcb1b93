"""The share of a training that is kept: the largest that known items bear in the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from agents.training import ALPHAS, weakened
from models.gates.guard import GuardQueries

QUERIES = 1_500


@dataclass(frozen=True)
class Share:
    """An adapter of which nothing counts but how much of its training it has."""

    share: float

    def weakened(self, untrained: Share, share: float) -> Share:
        assert untrained.share == 0.0
        return Share(share)


@dataclass(frozen=True)
class Trained:
    adapter: Share = Share(1.0)
    untrained: Share = Share(0.0)


def forgetful(adapter: Share) -> GuardQueries:
    """Every document was first; with more training more of them are second: 1 % of MRR are 30 of 1,500."""
    after = np.ones(QUERIES)
    after[: int(60 * adapter.share**2)] = 2.0
    return GuardQueries(np.ones(QUERIES), after, np.ones(QUERIES, dtype=np.bool_))


def harmful(adapter: Share) -> GuardQueries:
    """Every query loses from the smallest share on."""
    return GuardQueries(np.full(QUERIES, 1.0), np.full(QUERIES, 2.0), np.ones(QUERIES, dtype=np.bool_))


def test_what_forgets_is_weakened_until_known_items_hold() -> None:
    # nDCG falls by 0.37 / 1,500 for each document that is second, and may fall by 0.5 %: 20 of them.
    adapter, share = weakened(Trained(), forgetful)  # type: ignore[arg-type]
    assert adapter == Share(share)  # type: ignore[comparison-overlap]
    assert share == 0.55


@pytest.mark.parametrize(
    "guard", [harmful, lambda adapter: GuardQueries([], [], [])], ids=["harm", "nothing"]
)
def test_without_a_share_that_holds_the_smallest_is_left_to_the_gates(guard: object) -> None:
    assert weakened(Trained(), guard)[1] == ALPHAS[-1]  # type: ignore[arg-type]


def test_what_harms_nobody_is_kept_whole() -> None:
    same = np.full(QUERIES, 3.0)
    assert weakened(Trained(), lambda _: GuardQueries(same, same, same > 0))[1] == 1.0  # type: ignore[arg-type]
