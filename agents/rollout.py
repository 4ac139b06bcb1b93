"""The next step of a rollout: pure functions of how things stand, what was counted and what somebody wants.

A candidate is interleaved with what serves in a few sessions (the canary), then answers a growing share alone, then
serves everybody. Each step needs the figures that `models/gates` asks for; without them nothing moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from models.gates.canary import Canary, CanaryRules
from models.gates.widening import Arm, WideningRules, judge_step
from state.clicks.trial import ArmCounts, Step, TrialCounts
from streams.events.models import ADAPTER_MODEL, AdapterRollout, ModelBundle, RolloutRequest, bundle_key
from streams.settings import RolloutSettings

GIVEN_UP_KEPT = 50


def step_of(rollout: AdapterRollout | None, settings: RolloutSettings) -> Step | None:
    """What has to be counted now."""
    if rollout is None or rollout.candidate is None:
        return None
    reference = bundle_key(ADAPTER_MODEL, rollout.candidate)
    return Step(reference, rollout.since.timestamp(), settings.slow_ms)


def next_rollout(
    rollout: AdapterRollout | None,
    *,
    adapters: Mapping[str, ModelBundle],
    counts: TrialCounts | None,
    settings: RolloutSettings,
    now: datetime,
) -> AdapterRollout | None:
    """What follows by itself; None: nothing. adapters: those that were trained, by version, in order."""
    rollout = rollout or AdapterRollout(since=now)
    if rollout.candidate is None:
        version = _to_try(rollout, adapters) if settings.automatic else None
        return None if version is None else _canary(rollout, version, settings, now, "the gates accept it")
    if counts is None or counts.reference != bundle_key(ADAPTER_MODEL, rollout.candidate):
        return None
    if counts.since != rollout.since.timestamp():
        return None
    if rollout.interleaved:
        return _after_canary(rollout, counts, settings, now)
    return _after_step(rollout, counts, settings, now)


def asked_rollout(
    rollout: AdapterRollout | None,
    request: RolloutRequest,
    *,
    adapters: Mapping[str, ModelBundle],
    settings: RolloutSettings,
    now: datetime,
) -> AdapterRollout:
    """What somebody asked for. What cannot be done changes nothing but the reason."""
    rollout = rollout or AdapterRollout(since=now)
    if request.action == "roll_back":
        if rollout.candidate is not None:
            return _given_up(rollout, now, "somebody took it back")
        return _back(rollout, now)
    if request.version is None or request.version not in adapters:
        return rollout.model_copy(update={"since": now, "reason": f"there is no adapter {request.version}"})
    if request.action == "try":
        return _canary(rollout, request.version, settings, now, "somebody asked for it")
    return _serving(rollout, request.version, now, "somebody asked for it")


def _to_try(rollout: AdapterRollout, adapters: Mapping[str, ModelBundle]) -> str | None:
    """The newest adapter, if the gates let it pass and it was not tried yet."""
    if not adapters:
        return None
    version, bundle = list(adapters.items())[-1]
    known = {rollout.active, rollout.previous, *rollout.given_up}
    return version if bundle.verdict in ("accepted", "canary_only") and version not in known else None


def _after_canary(
    rollout: AdapterRollout, counts: TrialCounts, settings: RolloutSettings, now: datetime
) -> AdapterRollout | None:
    looks = (settings.canary_sessions, 2 * settings.canary_sessions)
    rules = CanaryRules(looks=looks, least=min(100, settings.canary_sessions))
    canary = Canary().after(counts.scores, rules)
    told = f"of {canary.sessions} sessions it won {canary.won} and lost {canary.lost}"
    if canary.verdict == "promote":
        return _widened(rollout, settings, now, told)
    return None if canary.verdict == "undecided" else _given_up(rollout, now, told)


def _after_step(
    rollout: AdapterRollout, counts: TrialCounts, settings: RolloutSettings, now: datetime
) -> AdapterRollout | None:
    verdict = judge_step(
        _arm(counts.candidate), _arm(counts.incumbent), WideningRules(sessions=settings.step_sessions)
    )
    told = f"{_told(counts.candidate)}, what serves {_told(counts.incumbent)}"
    if verdict == "widen":
        return _widened(rollout, settings, now, told)
    return None if verdict == "undecided" else _given_up(rollout, now, told)


def _canary(
    rollout: AdapterRollout, version: str, settings: RolloutSettings, now: datetime, reason: str
) -> AdapterRollout:
    return rollout.model_copy(
        update={
            "candidate": version,
            "share": settings.canary_share,
            "interleaved": True,
            "since": now,
            "reason": reason,
        }
    )


def _widened(
    rollout: AdapterRollout, settings: RolloutSettings, now: datetime, reason: str
) -> AdapterRollout:
    """The next larger share; behind the last one it serves everybody."""
    left = [share for share in settings.shares if rollout.interleaved or share > rollout.share]
    if not left:
        assert rollout.candidate is not None
        return _serving(rollout, rollout.candidate, now, reason)
    return rollout.model_copy(update={"share": left[0], "interleaved": False, "since": now, "reason": reason})


def _serving(rollout: AdapterRollout, version: str, now: datetime, reason: str) -> AdapterRollout:
    return AdapterRollout(
        active=version,
        previous=rollout.active,
        given_up=[each for each in rollout.given_up if each != version],
        since=now,
        reason=reason,
    )


def _given_up(rollout: AdapterRollout, now: datetime, reason: str) -> AdapterRollout:
    """Without its candidate."""
    assert rollout.candidate is not None
    return AdapterRollout(
        active=rollout.active,
        previous=rollout.previous,
        given_up=[*rollout.given_up, rollout.candidate][-GIVEN_UP_KEPT:],
        since=now,
        reason=reason,
    )


def _back(rollout: AdapterRollout, now: datetime) -> AdapterRollout:
    """What served before serves again."""
    if rollout.active is None:
        return rollout.model_copy(update={"since": now, "reason": "there was nothing to take back"})
    return AdapterRollout(
        active=rollout.previous,
        given_up=[*rollout.given_up, rollout.active][-GIVEN_UP_KEPT:],
        since=now,
        reason="somebody took it back",
    )


def _arm(counts: ArmCounts) -> Arm:
    return Arm(counts.sessions, counts.clicked, counts.answers, counts.failed, counts.slow)


def _told(counts: ArmCounts) -> str:
    share = counts.clicked / counts.sessions if counts.sessions else 0.0
    return (
        f"{share:.1%} of {counts.sessions} sessions with a click, {counts.failed} of {counts.answers} failed"
    )
