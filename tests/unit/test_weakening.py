"""The share of a training that is kept: the largest that known items bear, by means and by the gate's bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from agents.training import ALPHAS, NDCG_KEPT, weakened
from models.gates.guard import GuardQueries, judge_guard

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


def restless(adapter: Share) -> GuardQueries:
    """Every document was second; with more training more of them rise and fall, by as much in the mean."""
    after = np.full(QUERIES, 2.0)
    risen = int(0.25 * adapter.share**2 * QUERIES)
    fallen = int(risen * (1 - np.log(2) / np.log(3)) / (np.log(2) / np.log(3) - 0.5))
    after[:risen], after[risen : risen + fallen] = 1.0, 3.0
    return GuardQueries(np.full(QUERIES, 2.0), after, np.ones(QUERIES, dtype=np.bool_))


def harmful(adapter: Share) -> GuardQueries:
    """Every query loses from the smallest share on."""
    return GuardQueries(np.full(QUERIES, 1.0), np.full(QUERIES, 2.0), np.ones(QUERIES, dtype=np.bool_))


def test_what_holds_in_the_mean_is_weakened_until_the_gate_passes() -> None:
    assert judge_guard(restless(Share(1.0))).outcome == "refuse"
    assert judge_guard(restless(Share(1.0))).checks[0].value > NDCG_KEPT
    adapter, share = weakened(Trained(), restless)  # type: ignore[arg-type]
    assert adapter == Share(share)  # type: ignore[comparison-overlap]
    assert judge_guard(restless(Share(share))).outcome == "pass"
    larger = ALPHAS[ALPHAS.index(share) - 1]
    assert judge_guard(restless(Share(larger))).outcome == "refuse"


@pytest.mark.parametrize(
    "guard", [harmful, lambda adapter: GuardQueries([], [], [])], ids=["harm", "nothing"]
)
def test_without_a_share_that_holds_the_smallest_is_left_to_the_gates(guard: object) -> None:
    assert weakened(Trained(), guard)[1] == ALPHAS[-1]  # type: ignore[arg-type]


def test_what_harms_nobody_is_kept_whole() -> None:
    same = np.full(QUERIES, 3.0)
    assert weakened(Trained(), lambda _: GuardQueries(same, same, same > 0))[1] == 1.0  # type: ignore[arg-type]
