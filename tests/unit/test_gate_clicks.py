"""Held-out clicks: what moves clicked documents up passes, and the noise rate is what decides about demotion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.gates.clicks import ClickLimits, HeldOutClicks, estimate_noise, judge_clicks
from streams.errors import GateError
from tests.gate_evidence import NOISE, better, clicks_on, worse


def test_clicked_documents_that_move_up_pass():
    decision = judge_clicks(better(clicks_on()), noise=NOISE)
    assert decision.outcome == "pass"
    assert 0 < decision.checks[0].bound < decision.checks[0].value


def test_clicked_documents_that_move_down_refuse():
    decision = judge_clicks(worse(clicks_on()), noise=NOISE)
    assert decision.outcome == "refuse"
    assert decision.checks[0].value < 0


def test_a_candidate_that_changes_nothing_is_no_improvement():
    decision = judge_clicks(clicks_on(), noise=NOISE)
    assert decision.outcome == "inconclusive"
    assert decision.checks[0].value == 0


def test_few_clicks_decide_nothing_and_the_result_says_so():
    few = clicks_on(sessions=300)
    assert few.count < 800
    decision = judge_clicks(worse(few), noise=NOISE)
    assert decision.outcome == "inconclusive"
    result = decision.result()
    assert not result.passed
    assert result.figures["inconclusive"] == 1
    assert judge_clicks(worse(few), noise=NOISE, limits=ClickLimits(clicks=few.count)).outcome == "refuse"


def test_a_click_that_counts_for_two_queries_is_one_click():
    clicks = clicks_on()
    linked = replace(clicks, weight=np.where(np.arange(len(clicks.p)) % 2, 0.5, 1.0))
    assert linked.count == int(clicks.clicks[::2].sum())


def test_the_utility_is_what_its_formula_says():
    clicks = HeldOutClicks(
        session=[7, 7, 9],
        answer=[1, 1, 2],
        examination=[1.0, 0.5, 0.1],
        clicked=[0, 1, 1],
        weight=[1.0, 1.0, 0.5],
        incumbent=[1, 2, 3],
        candidate=[2, 1, 11],
    )
    decision = judge_clicks(clicks, noise=0.1, limits=ClickLimits(clicks=1))
    two = 1 / np.log2(3)
    worth = [1 * (0 - 0.1), 2 * (1 - 0.05), 0.5 * 3 * (1 - 0.01)]  # 1 / 0.1 counts 3
    change = worth[0] * (two - 1) + worth[1] * (1 - two) + worth[2] * (0 - 0.5)
    now = worth[0] * 1 + worth[1] * two + worth[2] * 0.5
    assert decision.checks[0].value == pytest.approx(change / now)


def test_whole_sessions_are_drawn_and_not_their_rows():
    """A hundred times the same session is as much evidence as one."""
    clicks = better(clicks_on())
    together = replace(clicks, session=clicks.sessions // 100)
    alone, drawn = (judge_clicks(each, noise=NOISE).checks[0] for each in (clicks, together))
    assert alone.value == pytest.approx(drawn.value)
    copies = [
        np.tile(array, 100)
        for array in (clicks.p, clicks.clicks, clicks.weights, clicks.before, clicks.after)
    ]
    many = HeldOutClicks(np.tile(clicks.sessions, 100), np.tile(clicks.sessions, 100), copies[0], *copies[1:])
    assert judge_clicks(many, noise=NOISE).checks[0].bound == pytest.approx(alone.bound, abs=1e-6)


def test_with_too_high_a_noise_rate_a_candidate_that_demotes_everything_earns_credit():
    """Why the rate is never rounded up: nobody clicks a position that is worth less than it."""
    clicks = clicks_on()
    far_down = replace(clicks, candidate=np.where(clicks.before > 1, 11.0, 1.0))
    right, high = (judge_clicks(far_down, noise=noise).checks[0].value for noise in (NOISE, 0.12))
    assert right < high


def test_an_incumbent_worth_less_than_noise_cannot_be_compared_with():
    decision = judge_clicks(better(clicks_on()), noise=0.9)
    assert decision.outcome == "refuse"
    assert "noise rate" in decision.sentence


def test_the_noise_rate_is_found_where_the_incumbent_scores_lowest():
    chance = np.random.default_rng(4)
    count = 200_000
    score, p = chance.random(count), 1 / chance.integers(1, 11, count)
    attraction = np.where(score > 0.3, 0.5, NOISE)
    clicked = (chance.random(count) < p) & (chance.random(count) < attraction)
    found = estimate_noise(clicked, p, score)
    assert found.clicks == 30
    assert found.estimate == pytest.approx(NOISE, rel=0.5)
    assert found.estimate == found.clicks / found.looks
    assert clicked.sum() / p.sum() > 0.3


def test_the_noise_rate_is_hardly_ever_above_the_true_one():
    """Of 200 logs one in twenty, and it is not far below either."""
    rates = []
    for seed in range(200):
        chance = np.random.default_rng(seed)
        p = 1 / chance.integers(1, 11, 10_000)
        clicked = (chance.random(10_000) < p) & (chance.random(10_000) < NOISE)
        rates.append(estimate_noise(clicked, p, chance.random(10_000)).rate)
    assert np.mean(np.array(rates) > NOISE) < 0.1
    assert np.mean(rates) > 0.6 * NOISE


def test_a_fifth_of_the_documents_is_taken_at_most():
    clicked = np.zeros(500)
    clicked[[1, 50, 99, 400]] = 1
    found = estimate_noise(clicked, np.ones(500), np.arange(500))
    assert (found.clicks, found.looks) == (3, 100)


def test_the_rate_is_the_lower_end_of_what_the_clicks_allow():
    """Fewer than 0.8177 expected clicks give three or more in less than one case of twenty."""
    clicked = np.zeros(500)
    clicked[[1, 50, 99, 400]] = 1
    rate = estimate_noise(clicked, np.ones(500), np.arange(500)).rate
    assert rate == pytest.approx(0.8177 / 100, rel=1e-3)
    three_or_more = np.random.default_rng(0).poisson(100 * rate, 100_000) >= 3
    assert three_or_more.mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("count", [0, 5])
def test_without_clicks_nothing_is_called_noise(count):
    assert estimate_noise(np.zeros(count), np.ones(count), np.arange(count)).rate == 0


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("examination", 0.0, "examination"),
        ("examination", 1.1, "examination"),
        ("clicked", 0.5, "clicked"),
        ("weight", 2.0, "weight"),
        ("candidate", 0.5, "candidate"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name, value, field):
    clicks = clicks_on(sessions=2)
    with pytest.raises(GateError) as caught:
        replace(clicks, **{name: np.full(20, value)})
    assert caught.value.field == field


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(GateError, match="differ in length"):
        replace(clicks_on(sessions=2), clicked=np.zeros(19))


@pytest.mark.parametrize("noise", [-0.1, 1.1, float("nan")])
def test_a_noise_rate_is_a_share(noise):
    with pytest.raises(GateError):
        judge_clicks(clicks_on(), noise=noise)
