"""The canary: counts in, one verdict out, the same however the sessions come."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from models.gates.canary import Canary, CanaryRules
from streams.errors import GateError


def scores(won: float, lost: float, count: int, seed: int = 0) -> list[int]:
    chance = np.random.default_rng(seed).random(count)
    return np.where(chance < won, 1, np.where(chance < won + lost, -1, 0)).tolist()


def test_a_better_candidate_is_promoted_at_the_first_look():
    canary = Canary().after(scores(0.3, 0.15, 3_000))
    assert canary.verdict == "promote"
    assert canary.sessions == 1_000


def test_one_that_is_slightly_better_may_need_the_second_look():
    canary = Canary().after([1, *[0] * 9] * 4 + [1, -1, *[0] * 8] * 96)
    assert canary == Canary(1_000, won=100, lost=96)
    assert Canary(1_999, won=160, lost=110).after([0]).verdict == "promote"


def test_before_the_first_look_nobody_is_promoted():
    assert Canary().after([1] * 999).verdict == "undecided"


def test_a_worse_candidate_is_rolled_back_long_before():
    canary = Canary().after(scores(0.1, 0.4, 3_000))
    assert canary.verdict == "roll_back"
    assert canary.sessions == 100


def test_without_a_difference_it_is_dropped():
    canary = Canary().after([1, -1, 0, 0] * 1_000)
    assert canary.verdict == "drop"
    assert canary.sessions == 2_000


def test_nobody_clicks_anything():
    canary = Canary().after([0] * 1_500)
    assert canary.z == 0
    assert canary.verdict == "undecided"


def test_a_candidate_that_always_wins_has_no_spread():
    canary = Canary().after([1] * 1_000)
    assert canary.z == math.inf
    assert canary.verdict == "promote"
    assert "z" not in canary.result().figures


def test_z_is_the_mean_in_standard_errors():
    found = scores(0.25, 0.2, 800)
    canary = Canary().after(found)
    assert canary.z == pytest.approx(np.mean(found) / np.std(found) * np.sqrt(800))


def test_what_is_decided_stays():
    canary = Canary().after(scores(0.3, 0.1, 1_000))
    assert canary.after([-1] * 5_000) == canary


@pytest.mark.parametrize("batch", [1, 7, 256, 5_000])
def test_batches_do_not_matter(batch):
    for seed, rates in enumerate([(0.3, 0.2), (0.2, 0.2), (0.2, 0.3), (0.24, 0.2)]):
        sessions = scores(*rates, 2_500, seed)
        canary = Canary()
        for start in range(0, len(sessions), batch):
            canary = Canary.decode(canary.after(sessions[start : start + batch]).encode())
        assert canary == Canary().after(itertools.chain(sessions))


def test_looking_twice_keeps_chance_out_and_looking_always_would_not():
    """Of 200 candidates that are no better, few are promoted."""
    always = CanaryRules(looks=tuple(range(100, 2_001)))
    verdicts = {
        name: [Canary().after(scores(0.15, 0.15, 2_000, seed), rules).verdict for seed in range(200)]
        for name, rules in (("twice", CanaryRules()), ("always", always))
    }
    assert verdicts["twice"].count("promote") <= 0.07 * 200
    assert verdicts["always"].count("promote") >= 0.12 * 200


def test_a_score_that_is_none_is_refused():
    with pytest.raises(GateError, match="scores"):
        Canary().after([2])


def test_the_manifest_gets_the_counts():
    result = Canary().after(scores(0.3, 0.1, 1_000)).result()
    assert result.passed
    assert result.figures["sessions"] == 1_000
