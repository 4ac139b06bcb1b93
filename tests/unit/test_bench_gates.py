"""The gates over a small world: what each candidate comes to, and that the log they are judged by is sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.learning.exact_system import top_of
from benchmarks.learning.gates import Judged, evidence_of, judge_candidates, together
from benchmarks.learning.study import Size, Study
from models.encoders.registry import load_encoder
from models.gates.clicks import ClickLimits
from models.gates.verdict import Limits

SIZE = Size(clicks=400, things=500, lessons=6)
REFUSED_BY = {
    "memory of shuffled labels": "clicks",
    "memory with spam, no cap": "exposure",
    "noise on the scores": "guard",
    "adapter of shuffled labels": "clicks",
    "adapter, learning rate x 30": "guard",
}


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(3, load_encoder("lite", threads=1), SIZE)


@pytest.fixture(scope="module")
def judged(study: Study) -> dict[str, Judged]:
    names = ["click memory", "noise on the scores"]
    return {each.name: each for each in judge_candidates(study, names)}


@pytest.fixture(scope="module")
def judged_by_few_clicks(study: Study) -> dict[str, Judged]:
    """With the gate of clicks at work, which wants more clicks than there are here."""
    limits = Limits(clicks=ClickLimits(clicks=50))
    return {each.name: each for each in judge_candidates(study, list(REFUSED_BY), limits=limits)}


def test_a_good_candidate_goes_to_the_canary_which_promotes_it(judged: dict[str, Judged]):
    memory = judged["click memory"]
    assert memory.judgement.verdict == "canary_only"
    assert memory.canary.verdict == "promote"
    assert memory.true_change > 0.05


@pytest.mark.parametrize(("name", "gate"), REFUSED_BY.items())
def test_a_bad_candidate_is_refused_by_the_gate_that_looks_for_it(
    judged_by_few_clicks: dict[str, Judged], name: str, gate: str
):
    assert gate in judged_by_few_clicks[name].judgement.refused_by


def test_figures_of_another_run_take_the_place_of_those_of_the_same_case(judged: dict[str, Judged]):
    memory, noise = judged["click memory"], judged["noise on the scores"]
    before = together([], [memory, noise])
    assert [each["name"] for each in before] == ["click memory", "noise on the scores"]
    again = together(before, [replace(noise, true_change=0.5)])
    assert [each["true_change"] for each in again] == [memory.true_change, 0.5]


def test_the_log_is_the_same_each_time(study: Study):
    again = Study(3, load_encoder("lite", threads=1), SIZE)
    first = [(answer.query_id, answer.shown.tolist(), answer.clicked) for answer in study.log]
    assert [(answer.query_id, answer.shown.tolist(), answer.clicked) for answer in again.log] == first


def test_a_fifth_of_the_sessions_is_held_out_and_no_session_is_in_both(study: Study):
    training, held_out = ({answer.session for answer in part} for part in (study.training, study.held_out))
    assert not training & held_out
    assert max(training) < min(held_out)
    assert len(held_out) / (len(training) + len(held_out)) == pytest.approx(0.2, abs=0.01)


def test_lists_are_the_incumbents_first_ten_but_for_what_chance_ordered(study: Study):
    for answer in study.log:
        top = top_of(study.incumbent[answer.text : answer.text + 1])[0]
        if answer.uppers:
            assert sorted(answer.shown.tolist()) == sorted(top.tolist())
        else:
            assert np.array_equal(answer.shown, top)
    ordered = {answer.session for answer in study.log if answer.uppers}
    assert len(ordered) / study.log[-1].session == pytest.approx(0.2, abs=0.06)


def test_ranks_in_the_evidence_are_those_of_the_scores(study: Study):
    """By a plain sort of some rows."""
    evidence = evidence_of(study, study.incumbent)
    for row in range(0, len(study.wanted), 97):
        order = np.argsort(-study.incumbent[study.guard_rows[row]], kind="stable").tolist()
        assert order.index(study.wanted[row]) + 1 == evidence.guard.before[row]
    unlinked = evidence.clicks.weights == 1
    shown = np.concatenate([answer.shown for answer in study.held_out])
    texts = np.repeat([answer.text for answer in study.held_out], 10)
    for place in range(0, len(shown), 211):
        order = np.argsort(-study.incumbent[texts[place]], kind="stable").tolist()
        assert order.index(shown[place]) + 1 == evidence.clicks.before[unlinked][place]


def test_a_click_on_a_rephrased_query_counts_half_for_the_one_before(study: Study):
    linked = [answer for answer in study.held_out if answer.previous is not None and answer.clicked]
    clicks = evidence_of(study, study.incumbent).clicks
    assert linked
    assert (clicks.weights == 0.5).sum() == 10 * len(linked)
    assert clicks.count == sum(len(answer.clicked) for answer in study.held_out)


def test_the_spammed_log_holds_forged_lists_and_clean_ones_do_not(study: Study):
    forged = [answer for answer in study.spam if answer.user.startswith("spammer-")]
    assert forged
    assert all(study.spammed in answer.shown for answer in forged)
    assert all(answer.shown[list(answer.clicked)].tolist() == [study.spammed] for answer in forged)
    assert not any(answer.user.startswith("spammer-") for answer in study.log)
