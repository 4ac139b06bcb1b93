"""Later steps: clear harm rolls back, too little is known at first, otherwise on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.gates.widening import Arm, WideningRules, judge_step, z_of_shares
from streams.errors import GateError

GOOD = Arm(sessions=2_000, clicked=1_000, answers=3_000, failed=3, slow=30)


def test_two_equal_arms_go_on():
    assert judge_step(GOOD, GOOD) == "widen"


def test_before_enough_sessions_nothing_is_decided():
    few = Arm(sessions=999, clicked=500, answers=1_500, failed=1, slow=10)
    assert judge_step(few, GOOD) == "undecided"
    assert judge_step(GOOD, few) == "undecided"


@pytest.mark.parametrize("harm", [{"clicked": 900}, {"failed": 60}, {"slow": 150}])
def test_clear_harm_rolls_back(harm):
    assert judge_step(replace(GOOD, **harm), GOOD) == "roll_back"


def test_clear_harm_rolls_back_early():
    broken = Arm(sessions=60, clicked=0, answers=60, failed=60, slow=0)
    assert judge_step(broken, GOOD) == "roll_back"


@pytest.mark.parametrize("change", [{"clicked": 960}, {"failed": 20}, {"slow": 80}])
def test_what_is_within_bounds_goes_on(change):
    assert judge_step(replace(GOOD, **change), GOOD) == "widen"


def test_one_failure_among_few_answers_is_chance():
    few = Arm(sessions=5, clicked=2, answers=5, failed=0, slow=1)
    assert judge_step(few, GOOD) == "undecided" or z_of_shares(1, 5, 30, 3_000) >= WideningRules().surely


def test_arms_without_sessions_decide_nothing():
    nothing = Arm(0, 0, 0, 0, 0)
    assert judge_step(nothing, GOOD) == "undecided"
    assert judge_step(nothing, nothing) == "undecided"


def test_z_is_that_of_two_proportions():
    assert z_of_shares(60, 100, 50, 100) == pytest.approx(0.1 / (0.55 * 0.45 * 0.02) ** 0.5)
    assert z_of_shares(0, 10, 0, 10) == 0


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(GateError, match="clicked"):
        Arm(sessions=1, clicked=2, answers=1, failed=0, slow=0)
