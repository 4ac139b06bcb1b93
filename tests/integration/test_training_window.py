"""A window read from the logs: joined as the learner joins it, the last sessions apart, without the forgotten."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agents.training_window import read_window
from models.encoders.registry import describe_encoder
from streams.broker import EmbeddedBroker
from streams.clients import producer
from streams.events.assignments import StampedVector
from streams.events.base import Event
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Feedback, Impression
from streams.events.training import OffsetRange
from streams.settings import Settings, load_settings
from streams.topics import create_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

STAMP = describe_encoder("hash").stamp
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    made = load_settings(
        brokers=broker.bootstrap,
        prefix=f"w{uuid.uuid4().hex[:6]}.",
        partitions=1,
        data=tmp_path,
        encoder="hash",
    )
    create_topics(made)
    return made


def test_clicks_are_joined_the_last_sessions_kept_apart_and_the_forgotten_left_out(settings, tmp_path):
    events: list[tuple[str, str, Event]] = []
    for number, person in enumerate(["anna", "bert"] * 5):
        events.append(("impressions", f"q{number}", shown(number, person)))
        events.append(("feedback", f"q{number}", clicked(f"q{number}", "x")))
    events.append(("feedback", "q1", clicked("q1", "never shown")))
    events.append(("forget", "r1", ForgetRequest(request_id="r1", people=["anna"])))
    events.append(("forget", "r2", ForgetRequest(request_id="r2", document_id="y")))
    write(settings, events)

    ends = {"impressions": 10, "feedback": 11}
    parts = [OffsetRange(topic=name, partition=0, start=0, end=end) for name, end in ends.items()]
    window = read_window(settings, parts, tmp_path / "window", stamp=STAMP)
    try:
        taught, held_out = window.taught.rows, window.held_out.rows
        assert sorted(taught) == ["q1", "q3", "q5", "q7"]
        assert sorted(held_out) == ["q9"], "a fifth of the sessions, the last ones"
        rows = [*taught.values(), *held_out.values()]
        assert {row.person for row in rows} == {"bert"}
        assert [list(row.clicked) for row in taught.values()] == [["x"]] * 3 + [[]], "three of a person count"
        assert all([hit.document_id for hit in row.shown] == ["x", ""] for row in rows)
        assert {name for name, _ in window.taught.typed()} == set(taught)
        for name, row in taught.items():
            axis = np.eye(64, dtype=np.float32)[int(name[1:])]
            np.testing.assert_array_equal(window.taught.vectors[row.query], axis)
    finally:
        window.close()


def shown(number: int, person: str) -> Impression:
    hits = [
        {"document_id": name, "position": place, "score": 0.0, "propensity": 1 / place}
        for place, name in enumerate("xy", start=1)
    ]
    return Impression.model_validate(
        {
            "query_id": f"q{number}",
            "user": person,
            "session_id": f"s{number}",
            "parts": [{"kind": "text", "weight": 1.0}],
            "query_vector": StampedVector.of(STAMP, "fused", np.eye(64, dtype=np.float32)[number]),
            "shown": hits,
            "models": [STAMP],
            "epoch": 0,
            "fresh_to": [],
            "at": BEGAN + timedelta(minutes=number),
        }
    )


def clicked(query_id: str, document_id: str) -> Feedback:
    at = BEGAN + timedelta(minutes=int(query_id[1:]))
    return Feedback.model_validate(
        {"query_id": query_id, "document_id": document_id, "action": "click", "at": at}
    )


def write(settings: Settings, events: list[tuple[str, str, Event]]) -> None:
    writer = producer(settings)
    for topic, key, event in events:
        writer.produce(settings.topic(topic), event.to_json(), key.encode())
    assert writer.flush(30) == 0
