"""The made-up traffic of `trieflow bench learner`: events that a learner takes, and what they come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.learner import count_alone
from benchmarks.learner_events import SHOWN, Traffic
from state.clicks.shard import ClickShard
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings

STAMP = "hash@1/512"
TRAFFIC = Traffic(300, 40, STAMP)


def test_every_event_is_one_and_each_click_is_on_what_was_shown():
    made = list(TRAFFIC.made())
    shown = {
        each.key: Impression.model_validate_json(each.body) for each in made if each.topic == "impressions"
    }
    given = [Feedback.model_validate_json(each.body) for each in made if each.topic == "feedback"]
    assert len(made) == TRAFFIC.events
    assert (len(shown), len(given)) == (300, 300)
    for each in given:
        assert each.document_id in {hit.document_id for hit in shown[each.query_id].shown}
    assert all(len({hit.document_id for hit in each.shown}) == SHOWN for each in shown.values())
    rephrased = [each for each in shown.values() if each.previous_query_id is not None]
    assert rephrased
    assert all(shown[each.previous_query_id].session_id == each.session_id for each in rephrased)


@pytest.mark.parametrize("each", [2, 3])
def test_feedback_comes_for_every_nth_list(each):
    traffic = Traffic(60, 10, STAMP, feedback_each=each)
    made = list(traffic.made())
    assert sum(one.topic == "feedback" for one in made) == 60 // each
    assert len(made) == traffic.events


def test_all_of_it_is_counted_and_settings_bound_what_is_kept(tmp_path: Path):
    settings = LearningSettings(batch=32, impressions=50, clicks_per_user=1_000)
    assert count_alone(list(TRAFFIC.made()), settings, stamp=STAMP, folder=tmp_path / "clicks") > 0
    shard = ClickShard(tmp_path / "clicks", settings, cluster="none", stamp=STAMP)
    try:
        assert shard.state.accepted == 300
        assert len(list(shard.impressions())) == 50
        clicks = sum(
            count
            for key, row in shard.remembered()
            if key.startswith("query/")
            for count, _ in row.documents.values()
        )
        linked = clicks - 300
        assert 0 <= linked <= 0.5 * 300
    finally:
        shard.close()
