"""The steps of a rollout, each by its figures alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.rollout import asked_rollout, next_rollout, step_of
from state.clicks.trial import ArmCounts, TrialCounts
from streams.events.models import AdapterRollout, ModelBundle, RolloutRequest, Verdict
from streams.settings import RolloutSettings

NOW = datetime(2026, 1, 31, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SETTINGS = RolloutSettings()


def bundle(version: str, verdict: Verdict = "accepted") -> ModelBundle:
    return ModelBundle(name="adapter", version=version, uri="", encoder_stamp="hash@1/64", verdict=verdict)


def adapters(*bundles: ModelBundle) -> dict[str, ModelBundle]:
    return {each.version: each for each in bundles}


def after(
    rollout: AdapterRollout | None, known: dict[str, ModelBundle], counts: TrialCounts | None = None
) -> AdapterRollout | None:
    return next_rollout(rollout, adapters=known, counts=counts, settings=SETTINGS, now=LATER)


def canary(version: str = "b", active: str | None = "a") -> AdapterRollout:
    return AdapterRollout(active=active, candidate=version, share=0.05, interleaved=True, since=NOW)


def counted(rollout: AdapterRollout, *, scores: list[int] | None = None) -> TrialCounts:
    return TrialCounts(f"adapter@{rollout.candidate}", rollout.since.timestamp(), scores=scores or [])


def arms(rollout: AdapterRollout, candidate: ArmCounts, incumbent: ArmCounts) -> TrialCounts:
    counts = counted(rollout)
    counts.candidate, counts.incumbent = candidate, incumbent
    return counts


@pytest.mark.parametrize("verdict", ["accepted", "canary_only"])
def test_what_the_gates_accept_is_tried(verdict):
    tried = after(None, adapters(bundle("a", verdict)))
    assert tried is not None
    assert (tried.active, tried.candidate, tried.share, tried.interleaved) == (None, "a", 0.05, True)
    step = step_of(tried, SETTINGS)
    assert step is not None
    assert (step.reference, step.since) == ("adapter@a", LATER.timestamp())


def test_what_they_refuse_or_what_was_given_up_is_not_nor_what_a_newer_one_has_overtaken():
    given_up = AdapterRollout(given_up=["b"], since=NOW)
    assert after(None, adapters(bundle("a", "refused"))) is None
    assert after(None, adapters(bundle("a"), bundle("b", "refused"))) is None
    assert after(given_up, adapters(bundle("a"), bundle("b"))) is None
    assert after(None, {}) is None


def test_nothing_is_tried_by_itself_where_that_is_switched_off():
    by_hand = RolloutSettings(automatic=False)
    assert next_rollout(None, adapters=adapters(bundle("a")), counts=None, settings=by_hand, now=NOW) is None


def test_a_candidate_that_wins_goes_on_to_serve_everybody():
    at = canary()
    steps = []
    at = after(at, {}, counted(at, scores=[1, 1, 0, -1] * 250)) or at
    while at.candidate is not None:
        steps.append((at.active, at.share, at.interleaved))
        even = ArmCounts(sessions=1_000, clicked=500, answers=1_000)
        at = after(at, {}, arms(at, even, even)) or pytest.fail("it does not go on")
    assert steps == [("a", 0.25, False), ("a", 0.5, False)]
    assert (at.active, at.previous, at.share, at.given_up) == ("b", "a", 0.0, [])


@pytest.mark.parametrize(
    ("scores", "why"),
    [([-1, -1, 0, 1] * 50, "it loses"), ([1, -1] * 1_000, "nobody wins in twice the sessions")],
)
def test_a_candidate_that_does_not_win_is_given_up(scores, why):
    at = canary()
    ended = after(at, {}, counted(at, scores=scores))
    assert ended is not None, why
    assert (ended.active, ended.candidate, ended.given_up) == ("a", None, ["b"])


def test_a_canary_goes_on_while_too_few_have_ended():
    at = canary()
    assert after(at, {}, counted(at, scores=[1] * 99)) is None
    assert after(at, {}, None) is None


def test_counts_of_another_step_decide_nothing():
    at = canary()
    lost = [-1] * 500
    assert after(at, {}, TrialCounts("adapter@x", NOW.timestamp(), scores=lost)) is None
    assert after(at, {}, TrialCounts("adapter@b", NOW.timestamp() - 1, scores=lost)) is None


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (ArmCounts(sessions=1_000, clicked=300, answers=1_000), "fewer sessions have a click"),
        (ArmCounts(sessions=200, clicked=100, answers=200, failed=40), "it fails"),
        (ArmCounts(sessions=200, clicked=100, answers=200, slow=80), "it is slow"),
    ],
)
def test_harm_at_a_larger_share_rolls_back(candidate, why):
    at = canary().model_copy(update={"share": 0.25, "interleaved": False})
    good = ArmCounts(sessions=1_000, clicked=500, answers=1_000)
    ended = after(at, {}, arms(at, candidate, good))
    assert ended is not None, why
    assert (ended.active, ended.candidate, ended.given_up) == ("a", None, ["b"])


def asked(rollout: AdapterRollout | None, action: str, version: str | None = None) -> AdapterRollout:
    request = RolloutRequest.model_validate({"action": action, "version": version, "at": LATER})
    known = adapters(bundle("a"), bundle("b", "refused"))
    return asked_rollout(rollout, request, adapters=known, settings=SETTINGS, now=LATER)


def test_somebody_can_promote_try_and_take_back():
    served = asked(None, "promote", "a")
    assert (served.active, served.previous) == ("a", None)
    tried = asked(served, "try", "b")
    assert (tried.active, tried.candidate, tried.share) == ("a", "b", 0.05)
    back = asked(tried, "roll_back")
    assert (back.active, back.candidate, back.given_up) == ("a", None, ["b"])
    further = asked(back, "roll_back")
    assert (further.active, further.given_up) == (None, ["b", "a"])
    again = asked(further, "roll_back")
    assert (again.active, again.reason) == (None, "there was nothing to take back")
    assert asked(further, "promote", "b").given_up == ["a"]


def test_an_adapter_that_is_not_there_changes_nothing_and_is_answered():
    served = asked(None, "promote", "a")
    same = asked(served, "promote", "nowhere")
    assert (same.active, same.candidate) == ("a", None)
    assert "nowhere" in same.reason
    assert same.since == LATER
