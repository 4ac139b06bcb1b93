"""What a step of a rollout counts, from impressions and clicks through the learner's shard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from state.clicks.shard import ClickShard
from state.clicks.trial import ArmCounts, Step, TrialCounts
from streams.events.impressions import Impression
from streams.settings import LearningSettings
from tests.unit.test_click_ledger import AT, NOON, STAMP, feedback, impression

STEP = Step("adapter@b", AT - 60, slow_ms=100.0)
WITH = [STAMP, "adapter@b"]


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[ClickShard]:
    shard = ClickShard(tmp_path / "clicks", LearningSettings(), cluster="c", stamp=STAMP, max_age_s=1e9)
    yield shard
    shard.close()


def see(shard: ClickShard, *impressions: Impression, step: Step | None = STEP) -> None:
    for each in impressions:
        ledger = shard.ledger(step)
        ledger.shown(each.query_id, each)
        shard.write(ledger, applied={})


def click(shard: ClickShard, query_id: str, document_id: str, action: str = "click") -> None:
    ledger = shard.ledger(STEP)
    ledger.given(query_id, feedback(query_id, document_id, action), AT)
    shard.write(ledger, applied={})


def finish(shard: ClickShard, *, before: float = AT + 1, step: Step = STEP) -> TrialCounts:
    ledger = shard.ledger(step)
    ledger.trial.finish(before)
    shard.write(ledger, applied={})
    counts = shard.ledger(step).trial.counts
    assert counts is not None
    return counts


def interleaved(query_id: str, session: str | None = None) -> Impression:
    made = impression(
        query_id, "a", "x", "y", arm="interleaved", models=WITH, session_id=session or f"of {query_id}"
    )
    teams = ("candidate", "incumbent")
    shown = [hit.model_copy(update={"team": team}) for hit, team in zip(made.shown, teams, strict=True)]
    return made.model_copy(update={"shown": shown})


def test_interleaved_sessions_are_scored_by_who_won(shard):
    see(shard, *(interleaved(name) for name in ("q1", "q2", "q3", "q4")))
    click(shard, "q1", "x")
    click(shard, "q2", "y")
    click(shard, "q3", "x")
    click(shard, "q3", "y")
    assert sorted(finish(shard).scores) == [-1, 0, 0, 1]


def test_a_click_that_is_taken_back_wins_nothing(shard):
    see(shard, interleaved("q1"), interleaved("q2"))
    click(shard, "q1", "x")
    click(shard, "q1", "x", "hide")
    click(shard, "q2", "x")
    finish(shard)
    click(shard, "q2", "x", "hide")  # too late: its session is over
    assert sorted(finish(shard).scores) == [0, 1]


def test_a_session_counts_once_with_all_of_its_queries(shard):
    see(shard, interleaved("q1", "s"), interleaved("q2", "s"))
    click(shard, "q1", "x")
    click(shard, "q2", "x")
    assert finish(shard).scores == [1]
    assert finish(shard).scores == [1], "it is over"


def test_a_session_that_goes_on_waits(shard):
    see(shard, interleaved("q1"))
    assert finish(shard, before=AT).scores == []
    click(shard, "q1", "x")
    assert finish(shard).scores == [1]


def test_a_click_that_comes_before_its_impression_counts(shard):
    click(shard, "q1", "x")
    see(shard, interleaved("q1"))
    assert finish(shard).scores == [1]


def test_arms_count_sessions_with_a_click_failures_and_slow_answers(shard):
    see(
        shard,
        impression("q1", "a", "x", arm="candidate", models=WITH, took_ms=20.0),
        impression("q2", "a", "x", arm="candidate", models=WITH, took_ms=200.0),
        impression("q3", "a", "x", arm="fallback", took_ms=20.0),
        impression("q4", "a", "x", took_ms=20.0),
    )
    click(shard, "q1", "x")
    counts = finish(shard)
    assert counts.candidate == ArmCounts(sessions=3, clicked=1, answers=3, failed=1, slow=1)
    assert counts.incumbent == ArmCounts(sessions=1, clicked=0, answers=1)


def test_what_belongs_to_another_step_does_not_count(shard):
    early = impression("q1", "a", "x", arm="candidate", models=WITH, at=NOON - timedelta(minutes=2))
    other = impression("q2", "a", "x", arm="candidate", models=[STAMP, "adapter@c"])
    see(shard, early, other)
    assert finish(shard).candidate == ArmCounts()
    see(shard, interleaved("q3"))
    later = Step("adapter@b", AT - 1, slow_ms=100.0)
    assert finish(shard, step=later).scores == [], "a new step begins with nothing"


def test_without_a_step_nothing_is_counted(shard):
    see(shard, interleaved("q1"), step=None)
    assert finish(shard).scores == []
