"""Later steps: clear harm rolls back, too little is known at first, otherwise on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from models.gates.widening import Arm, WideningRules, judge_step, z_of_shares
from streams.errors import GateError

GOOD = Arm(sessions=2_000, clicked=1_000, answers=3_000, failed=3, slow=30)


def test_two_equal_arms_go_on():
    assert judge_step(GOOD, GOOD) == "widen"


def test_before_enough_sessions_nothing_is_decided():
    few = Arm(sessions=999, clicked=500, answers=1_500, failed=1, slow=10)
    assert judge_step(few, GOOD) == "undecided"
    assert judge_step(GOOD, few) == "undecided"


@pytest.mark.parametrize("harm", [{"clicked": 930}, {"failed": 60}, {"slow": 150}])
def test_harm_rolls_back_at_the_end_of_a_step(harm):
    assert judge_step(replace(GOOD, **harm), GOOD) == "roll_back"


def test_clear_harm_rolls_back_early():
    broken = Arm(sessions=60, clicked=20, answers=60, failed=60, slow=0)
    assert judge_step(broken, GOOD) == "roll_back"
    ignored = Arm(sessions=60, clicked=10, answers=60, failed=0, slow=0)
    assert judge_step(ignored, GOOD) == "roll_back"


@pytest.mark.parametrize("change", [{"clicked": 960}, {"failed": 20}, {"slow": 80}])
def test_what_is_within_bounds_goes_on(change):
    assert judge_step(replace(GOOD, **change), GOOD) == "widen"


def test_what_chance_does_to_few_sessions_decides_nothing():
    few = Arm(sessions=50, clicked=16, answers=50, failed=1, slow=2)
    assert z_of_shares(16, 50, 1_000, 2_000) < -2
    assert judge_step(few, GOOD) == "undecided"


def test_equal_arms_are_seldom_rolled_back_however_often_one_looks():
    rolled_back = {2.0: 0, WideningRules().early: 0}
    for early in rolled_back:
        for seed in range(200):
            chance = np.random.default_rng(seed)
            ours, theirs = (np.cumsum(chance.random(1_000) < 0.4) for _ in range(2))
            rolled_back[early] += any(
                judge_step(_clicked(ours, upto), _clicked(theirs, upto), WideningRules(early=early))
                == "roll_back"
                for upto in range(20, 1_001, 20)
            )
    assert rolled_back[WideningRules().early] <= 0.06 * 200
    assert rolled_back[2.0] > 0.1 * 200


def _clicked(clicked, sessions):
    return Arm(sessions, int(clicked[sessions - 1]), sessions, 0, 0)


def test_arms_without_sessions_decide_nothing():
    nothing = Arm(0, 0, 0, 0, 0)
    assert judge_step(nothing, GOOD) == "undecided"
    assert judge_step(nothing, nothing) == "undecided"


def test_z_is_that_of_two_proportions():
    """chi2_contingency is scipy's test of the same table, by the square of z and corrected too."""
    for table in ([60, 100, 50, 100], [3, 90, 40, 200], [7, 50, 1, 60]):
        first, of_first, second, of_second = table
        square = chi2_contingency([[first, of_first - first], [second, of_second - second]]).statistic
        assert z_of_shares(*table) ** 2 == pytest.approx(square)
        assert (z_of_shares(*table) > 0) is (first / of_first > second / of_second)
    assert z_of_shares(0, 10, 0, 10) == 0
    assert z_of_shares(5, 10, 5, 10) == 0


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(GateError, match="clicked"):
        Arm(sessions=1, clicked=2, answers=1, failed=0, slow=0)
