"""Gates under random input: no change is no harm and no improvement, order does not matter, harm is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.gates.bootstrap import lower_bound, resampled_sums
from models.gates.clicks import ClickLimits, judge_clicks
from models.gates.exposure import judge_exposure
from models.gates.guard import GuardLimits, judge_guard
from models.gates.interleaving import chance_of, team_draft
from tests.gate_evidence import NOISE, clicks_on, guard_of, lists_of, worse

SEEDS = st.integers(0, 2**32 - 1)
FEW = GuardLimits(queries=50, absent=10, resamples=500)
SOME = ClickLimits(clicks=20, resamples=500)
few_runs = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few_runs
@given(SEEDS)
def test_the_incumbent_itself_passes_guard_and_exposure_and_never_the_clicks(seed):
    ranks = np.random.default_rng(seed).integers(1, 30, 200)
    assert judge_guard(guard_of(ranks, ranks), FEW, seed=seed % 7).outcome == "pass"
    assert judge_exposure(lists_of(50, seed)).outcome == "pass"
    assert judge_clicks(clicks_on(100, seed), noise=NOISE, limits=SOME, seed=seed % 7).outcome != "pass"


@few_runs
@given(SEEDS)
def test_the_order_of_queries_changes_nothing(seed):
    chance = np.random.default_rng(seed)
    before = chance.integers(1, 30, 200)
    after = np.maximum(1, before + chance.integers(-3, 4, 200))
    order = chance.permutation(200)
    one = judge_guard(guard_of(before, after), FEW)
    other = judge_guard(guard_of(before[order], after[order]), FEW)
    assert np.allclose(
        [check.bound for check in one.checks], [check.bound for check in other.checks], atol=1e-9
    )
    lists = lists_of(50, seed)
    changed = replace(lists, candidate=(lists.before + 1) % 200)
    shuffled = chance.permutation(50)
    moved = replace(
        changed,
        incumbent=changed.before[shuffled],
        candidate=changed.after[shuffled],
        asked=changed.times[shuffled],
    )
    assert np.isclose(judge_exposure(changed).checks[0].value, judge_exposure(moved).checks[0].value)


@few_runs
@given(SEEDS)
def test_the_order_of_shown_documents_and_the_numbers_of_sessions_change_nothing(seed):
    chance = np.random.default_rng(seed)
    clicks = clicks_on(100, seed)
    clicks = replace(clicks, candidate=np.maximum(1, clicks.before + chance.integers(-3, 4, 1_000)))
    order, names = chance.permutation(1_000), chance.permutation(100)
    moved = replace(
        clicks,
        session=names[clicks.sessions][order],
        answer=clicks.sessions[order],
        examination=clicks.p[order],
        clicked=clicks.clicks[order],
        weight=clicks.weights[order],
        incumbent=clicks.before[order],
        candidate=clicks.after[order],
    )
    one, other = (judge_clicks(each, noise=NOISE, limits=SOME).checks[0] for each in (clicks, moved))
    assert np.allclose([one.value, one.bound], [other.value, other.bound], atol=1e-9)


@few_runs
@given(SEEDS, st.floats(0.06, 0.5))
def test_harm_is_refused_by_the_gate_that_looks_for_it(seed, share):
    chance = np.random.default_rng(seed)
    before = chance.integers(1, 5, 400)
    forgotten = np.arange(400) < share * 400
    assert judge_guard(guard_of(before, np.where(forgotten, 40, before)), FEW).outcome == "refuse"
    assert judge_clicks(worse(clicks_on(100, seed)), noise=NOISE, limits=SOME).outcome == "refuse"
    lists = lists_of(100, seed)
    flooded = lists.before.copy()
    flooded[:, 0] = np.where(np.cumsum(lists.times) < (share + 0.1) * lists.times.sum(), 777, flooded[:, 0])
    assert judge_exposure(replace(lists, candidate=flooded)).outcome == "refuse"


@few_runs
@given(SEEDS, st.integers(2, 60))
def test_resampled_sums_are_those_of_a_plain_loop_in_law(seed, count):
    values = np.random.default_rng(seed).normal(size=count)
    fast = resampled_sums(values, seed=seed, resamples=2_000)
    chance = np.random.default_rng(seed + 1)
    plain = np.array([sum(values[int(chance.integers(count))] for _ in range(count)) for _ in range(300)])
    error = values.std() * np.sqrt(count)
    assert abs(fast.mean() - values.sum()) < 0.2 * error
    assert abs(fast.mean() - plain.mean()) < 0.4 * error
    assert 0.75 < fast.std() / plain.std() < 1.3
    assert np.array_equal(fast, resampled_sums(values[::-1].copy(), seed=seed, resamples=2_000))
    assert lower_bound(fast) <= fast.mean()


# -- team draft -----------------------------------------------------------------------------------------------

rankings = st.lists(st.integers(0, 30).map(str), unique=True, max_size=15)


@given(rankings, rankings, st.text(max_size=5), st.integers(1, 12))
def test_each_document_once_in_the_order_of_its_list_and_teams_are_balanced(
    incumbent, candidate, query, length
):
    shown, teams = team_draft(incumbent, candidate, chance_of(query), length=length)
    assert len(shown) == len(set(shown)) == len(teams) == min(length, len({*incumbent, *candidate}))
    for team, ranked in (("incumbent", incumbent), ("candidate", candidate)):
        brought = [document for document, of in zip(shown, teams, strict=True) if of == team]
        assert brought == sorted(brought, key=ranked.index)
    for upto in range(len(teams) + 1):
        assert abs(teams[:upto].count("incumbent") - teams[:upto].count("candidate")) <= 1
    if None in teams:
        rest = teams[teams.index(None) :]
        assert set(rest) == {None}


@given(rankings, rankings, st.text(max_size=5))
def test_nothing_good_of_either_is_missing(incumbent, candidate, query):
    """Whatever is shown, each model's documents above its last one shown are there too."""
    shown, _ = team_draft(incumbent, candidate, chance_of(query), length=8)
    for ranked in (incumbent, candidate):
        missing = [place for place, document in enumerate(ranked) if document not in shown]
        assert not missing or len(shown) == 8
        if missing:
            assert missing[0] >= 4  # each brings half at least


def test_each_is_first_equally_often_and_equal_rankings_win_equally_often():
    first = [team_draft(["a", "b"], ["c", "d"], chance_of(f"q{n}"))[1][0] for n in range(4_000)]
    assert abs(first.count("candidate") - 2_000) < 4 * np.sqrt(1_000)
    top = [team_draft(list("abc"), list("abc"), chance_of(f"q{n}"))[1][0] for n in range(4_000)]
    assert abs(top.count("candidate") - 2_000) < 4 * np.sqrt(1_000)
