"""When the learner looks at what is asked for: each request is carried out, however soon it follows another."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agents.model_log import RolloutLog
from agents.rollouts import Rollouts
from streams.events.models import ROLLOUT_REQUEST, RolloutRequest
from streams.records import Record
from streams.settings import Settings


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> RolloutLog:
    monkeypatch.setattr("agents.rollouts._LOOK_S", 0.0)
    return RolloutLog(Settings())


def test_a_request_that_follows_before_the_next_look_is_carried_out(models: RolloutLog):
    rollouts = Rollouts(Settings(), models)
    for _ in range(3):
        ask(models)
        assert rollouts.look()
        carry_out(rollouts)


def test_a_request_that_was_carried_out_is_not_carried_out_again_before_its_deletion_is_read(
    models: RolloutLog,
):
    rollouts = Rollouts(Settings(), models)
    ask(models)
    carry_out(rollouts)
    assert rollouts.look()  # once, for what it would do by itself
    assert rollouts.decide(None) == ([], None)
    rollouts.decided(None)
    assert not rollouts.look()


def ask(models: RolloutLog) -> None:
    request = RolloutRequest(action="roll_back", at=datetime.now(UTC))
    models.take(Record("models", 0, 0, ROLLOUT_REQUEST.encode(), request.to_json()))


def carry_out(rollouts: Rollouts) -> None:
    records, decided = rollouts.decide(None)
    assert [record.key for record in records] == [b"adapter", ROLLOUT_REQUEST.encode()]
    rollouts.decided(decided)
