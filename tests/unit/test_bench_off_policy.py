"""Off-policy estimates: the arrays against plain loops, and a log whose truth is known."""

from __future__ import annotations

import csv
import io
import zipfile

import numpy as np
import pytest

from benchmarks import off_policy
from benchmarks.off_policy import (
    Log,
    by_place,
    choices,
    compare,
    dr_terms,
    effective_sample_size,
    estimate,
    expected_clicks,
    fetch,
    importance,
    ips_terms,
    read_logs,
    snips_terms,
)
from streams.errors import TrieflowError

ITEMS, PLACES = 5, 3
RATES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
UNIFORM = np.full((PLACES, ITEMS), 1 / ITEMS)
GREEDY = np.array([[0.05, 0.05, 0.1, 0.3, 0.5]] * PLACES)


def made(policy, rows, seed):
    """A log of a policy among items of these click rates."""
    chance = np.random.default_rng(seed)
    place = chance.integers(PLACES, size=rows)
    item = (chance.random((rows, 1)) > policy.cumsum(axis=1)[place, :-1]).sum(axis=1)
    clicked = (chance.random(rows) < RATES[item]).astype(float)
    return Log(item, place, clicked, policy[place, item])


def value(terms):
    numerators, denominators = terms
    return numerators.sum() / denominators.sum()


def test_each_estimator_is_its_formula_by_plain_loops():
    log = made(UNIFORM, 200, 1)
    weights, expected = importance(log, GREEDY), expected_clicks(log, ITEMS)
    ips = snips = normal = dr = squares = 0.0
    for n in range(log.size):
        place, item, clicked = log.place[n], log.item[n], log.clicked[n]
        weight = GREEDY[place][item] / log.propensity[n]
        ips += weight * clicked / log.size
        snips, normal, squares = snips + weight * clicked, normal + weight, squares + weight**2
        others = [k for k in range(log.size) if k % off_policy.FOLDS != n % off_policy.FOLDS]
        mean = sum(log.clicked[k] for k in others) / len(others)
        model = []
        for each in range(ITEMS):
            shown = [log.clicked[k] for k in others if log.item[k] == each]
            model.append((sum(shown) + off_policy.PRIOR * mean) / (len(shown) + off_policy.PRIOR))
        direct = sum(GREEDY[place][each] * model[each] for each in range(ITEMS))
        dr += (direct + weight * (clicked - model[item])) / log.size
    assert value(ips_terms(log, weights)) == pytest.approx(ips)
    assert value(snips_terms(log, weights)) == pytest.approx(snips / normal)
    assert value(dr_terms(log, weights, GREEDY, expected)) == pytest.approx(dr)
    assert effective_sample_size(weights) == pytest.approx(normal**2 / squares)


def test_the_value_of_a_policy_is_found_in_the_log_of_another():
    logs = {"random": made(UNIFORM, 4_000, 2), "bts": made(GREEDY, 4_000, 3)}
    for each in compare("made", logs, seed=0):
        truth = float(((UNIFORM if each.policy == "random" else GREEDY)[0] * RATES).sum())
        for found in (each.on_policy, each.ips, each.snips, each.dr):
            assert found.value == pytest.approx(truth, abs=0.05)
            assert found.low < found.value < found.high
        assert 1 < each.effective < each.rows


def test_choices_of_a_policy_that_learned_are_those_over_its_time():
    log = made(GREEDY, 20_000, 4)
    assert choices(log, PLACES, ITEMS) == pytest.approx(GREEDY, abs=0.02)


def test_equal_weights_count_every_row():
    assert effective_sample_size(np.full(7, 3.0)) == pytest.approx(7)


def test_an_interval_is_narrower_with_more_rows():
    few, many = (estimate((made(UNIFORM, rows, 5).clicked, np.ones(rows)), seed=0) for rows in (100, 4_000))
    assert many.high - many.low < (few.high - few.low) / 5


def test_places_that_are_looked_at_less_are_seen_as_such():
    log = made(UNIFORM, 30_000, 6)
    looked_at = np.random.default_rng(7).random(log.size) < np.array([1, 1 / 2, 1 / 3])[log.place]
    rates, clicks, exponent = by_place(Log(log.item, log.place, log.clicked * looked_at, log.propensity))
    assert exponent == pytest.approx(1.0, abs=0.1)
    assert rates[0] > rates[1] > rates[2]
    assert clicks.sum() == (log.clicked * looked_at).sum()


def test_the_logs_are_read_from_the_wheel_as_they_are(tmp_path):
    path = tmp_path / off_policy.WHEEL
    text = io.StringIO()
    rows = csv.DictWriter(text, ["", "item_id", "position", "click", "propensity_score"])
    rows.writeheader()
    rows.writerow({"": 0, "item_id": 14, "position": 3, "click": 1, "propensity_score": 0.25})
    with zipfile.ZipFile(path, "w") as wheel:
        for policy in off_policy.POLICIES:
            for campaign in off_policy.CAMPAIGNS:
                wheel.writestr(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv", text.getvalue())
    log = read_logs(path)["men"]["bts"]
    assert (log.item[0], log.place[0], log.clicked[0], log.propensity[0]) == (14, 2, 1.0, 0.25)
    with pytest.raises(TrieflowError, match="checksum"):
        fetch(tmp_path)
