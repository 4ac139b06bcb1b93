"""The guard: what nobody clicked for must not get worse, by known ranks."""

from __future__ import annotations

import numpy as np
import pytest

from models.gates.guard import GuardLimits, GuardQueries, judge_guard
from models.gates.ranks import discounts
from streams.errors import GateError
from tests.gate_evidence import guard_of, guard_ranks


def test_a_rank_is_worth_what_ndcg_says():
    assert discounts(np.array([1.0, 2, 3, 10, 11, np.inf])) == pytest.approx(
        [1, 1 / np.log2(3), 0.5, 1 / np.log2(11), 0, 0]
    )


def test_a_candidate_that_changes_nothing_passes():
    decision = judge_guard(guard_of(guard_ranks(), guard_ranks()))
    assert decision.outcome == "pass"
    assert [check.bound for check in decision.checks] == [0, 0]


def test_fewer_queries_than_wanted_refuse_whatever_they_say():
    ranks = guard_ranks(1_499)
    decision = judge_guard(guard_of(ranks, np.ones(1_499)))
    assert decision.outcome == "refuse"
    assert "1,499" in decision.sentence
    assert judge_guard(guard_of(ranks, ranks), GuardLimits(queries=1_499)).outcome == "pass"


def test_the_change_is_that_of_the_means():
    before, after = np.full(2_000, 2.0), np.concatenate([np.ones(1_000), np.full(1_000, 4.0)])
    ndcg, mrr = judge_guard(guard_of(before, after)).checks
    assert ndcg.value == pytest.approx((0.5 * 1 + 0.5 / np.log2(5)) * np.log2(3) - 1)
    assert mrr.value == pytest.approx((0.5 * 1 + 0.5 / 4) / 0.5 - 1)


def test_the_bound_is_where_the_normal_law_says():
    before = np.full(2_000, 2.0)
    after = np.concatenate([np.ones(1_000), np.full(1_000, 4.0)])
    mrr = judge_guard(guard_of(before, after)).checks[1]
    changes = (1 / after - 1 / before) / 0.5
    expected = changes.mean() - 1.645 * changes.std() / np.sqrt(len(changes))
    assert mrr.bound == pytest.approx(expected, abs=0.15 * changes.std() / np.sqrt(len(changes)))


def test_a_model_that_forgets_is_refused():
    before = guard_ranks()
    forgotten = np.random.default_rng(5).random(len(before)) < 0.1
    decision = judge_guard(guard_of(before, np.where(forgotten, before + 20, before)))
    assert decision.outcome == "refuse"
    assert "nobody clicked for" in decision.sentence


def test_mrr_alone_refuses_what_ndcg_lets_through():
    """First places become second while others come into the ten from below."""
    before = np.concatenate([np.ones(500), np.full(2_000, 12.0)])
    after = np.concatenate([np.full(500, 2.0), np.full(2_000, 8.0)])
    ndcg, mrr = judge_guard(guard_of(before, after), GuardLimits(queries=2_000)).checks
    assert ndcg.holds
    assert not mrr.holds


def test_languages_that_nobody_asks_in_must_hold_by_themselves():
    before = np.full(4_000, 2.0)
    in_log = np.arange(4_000) < 3_000
    after = np.where(in_log, 1.0, 4.0)
    decision = judge_guard(GuardQueries(before, after, in_log))
    assert decision.checks[0].holds
    assert decision.outcome == "refuse"
    assert "do not occur in the log" in decision.sentence
    assert judge_guard(GuardQueries(before, after, in_log), GuardLimits(absent=1_001)).outcome == "pass"


@pytest.mark.parametrize("ranks", [np.full(1_500, np.inf), np.full(1_500, 11.0)])
def test_an_incumbent_that_finds_nothing_is_no_measure(ranks):
    assert judge_guard(guard_of(ranks, np.ones(1_500))).outcome == "refuse"


def test_what_was_found_and_is_not_any_more_counts_as_lost():
    before = np.ones(1_500)
    decision = judge_guard(guard_of(before, np.where(np.arange(1_500) < 150, np.inf, 1.0)))
    assert decision.checks[1].value == pytest.approx(-0.1)
    assert decision.outcome == "refuse"


@pytest.mark.parametrize(
    ("before", "after", "in_log", "field"),
    [
        ([1, 2], [1], [True, True], "incumbent"),
        ([1, 0], [1, 1], [True, True], "incumbent"),
        ([1, 1], [1, np.nan], [True, True], "candidate"),
        ([1, 1], [[1, 1]], [True, True], "candidate"),
    ],
)
def test_arrays_that_do_not_fit_are_named(before, after, in_log, field):
    with pytest.raises(GateError) as caught:
        GuardQueries(before, after, in_log)
    assert caught.value.field == field
