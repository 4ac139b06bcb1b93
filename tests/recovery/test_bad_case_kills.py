"""kill -9 of who notes bad cases: all are noted, and none counts twice in the report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from models.encoders.registry import describe_encoder
from streams.events.assignments import StampedVector
from streams.events.impressions import Feedback, Impression, ImpressionPart, ShownDocument
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.bad_cases import BadCaseReport, read_report

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

_SETTLED_S = 60.0
STAMP = describe_encoder("hash").stamp
DIMENSION = describe_encoder("hash").dimension


def report(system: System) -> BadCaseReport:
    return read_report(system.settings, days=1, progress=lambda what, total: nullcontext(lambda: None))


def impression(query_id: str, number: int, *, previous: str | None = None) -> Impression:
    vector = np.random.default_rng(number).normal(size=DIMENSION)
    return Impression(
        query_id=query_id,
        session_id=f"session-{number}",
        previous_query_id=previous,
        parts=[ImpressionPart(kind="text", weight=1.0)],
        query_vector=StampedVector.of(STAMP, "fused", vector),
        shown=[
            ShownDocument(document_id=f"{query_id}-{place}", position=place, score=1.0, propensity=1 / place)
            for place in (1, 2)
        ],
        models=[STAMP],
        epoch=0,
        fresh_to=[],
        at=datetime.now(UTC),
    )


def rephrase(system: System, numbers: range) -> None:
    """For each number a query, the same in other words, and a click on the second answer."""
    topic = system.settings.topic
    for number in numbers:
        first, second = f"first-{number}", f"second-{number}"
        click = Feedback(query_id=second, document_id=f"{second}-2", action="click")
        for name, key, event in (
            ("impressions", first, impression(first, number)),
            ("impressions", second, impression(second, number, previous=first)),
            ("feedback", second, click),
        ):
            system.producer.produce(topic(name), key=key, value=event.to_json())
    assert system.producer.flush(30) == 0


@pytest.mark.parametrize("place", ["in-transaction", "4-5", "5-6"])
def test_a_learner_that_is_killed_notes_each_case_once(new_system: Callable[..., System], place: str) -> None:
    system = new_system(learning__batch="8")
    rephrase(system, range(20))
    for passage in (1, 3):
        assert system.start("learner", crash_at=f"{place}:{passage}").wait_exit() == -9
    rephrase(system, range(20, 30))
    learner = system.start("learner").wait_ready()
    eventually(
        lambda: sum(len(query.clicked) for query in report(system).queries) == 20,
        _SETTLED_S,
        what="every case that is listed says what was clicked",
    )
    eventually(
        lambda: report(system).counts == {"no_click_rephrased": 30}, _SETTLED_S, what="each counts once"
    )
    assert {tuple(query.clicked) for query in report(system).queries} <= {
        (f"second-{number}-2",) for number in range(30)
    }
    assert learner.stop() == 0


def pictured(number: int, *, wrong: bool = False) -> dict[str, Any]:
    """A document with ready vectors of a text and of a picture, of the same thing or of opposites."""
    thing = np.random.default_rng(number).normal(size=DIMENSION)
    both = (("text", thing), ("image", -thing if wrong else thing))
    return {
        "title": f"thing {number}",
        "vectors": [{"stamp": STAMP, "kind": kind, "values": vector.tolist()} for kind, vector in both],
    }


@pytest.mark.parametrize("place", ["in-5", "5-6", "6-7"])
def test_an_indexer_that_is_killed_notes_each_document_once(
    new_system: Callable[..., System], place: str
) -> None:
    system = new_system(partitions=1)
    indexer = system.start("indexer").wait_ready()
    system.client.publish_many(
        ((f"right-{n}", pictured(n)) for n in range(80)), on_receipt=lambda receipt: None
    )
    assert indexer.stop() == 0
    for number in range(100, 112):
        system.client.publish(f"wrong-{number}", pictured(number, wrong=True))
    assert system.start("indexer", crash_at=f"{place}:1").wait_exit() == -9
    indexer = system.start("indexer").wait_ready()
    system.wait_for_receipts()
    assert report(system).counts == {"title_picture_mismatch": 12}
    assert {each.document_id for each in report(system).documents} == {
        f"wrong-{number}" for number in range(100, 112)
    }
    system.client.publish("wrong-100", pictured(100), wait=60)
    system.client.delete("wrong-101", wait=60)
    assert report(system).counts == {"title_picture_mismatch": 10}
    assert indexer.stop() == 0
