"""kill -9 of the trainer while it works and around what it writes: of one request comes one adapter, the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from agents.training import REPORT
from benchmarks.learning.stage import encoded
from models.adapter.adapter import FILE
from models.bundles import BundleStore
from models.encoders.registry import load_encoder
from streams.broker import EmbeddedBroker
from streams.events.assignments import StampedVector
from streams.events.impressions import Feedback, Impression
from streams.events.models import ADAPTER_MODEL
from streams.events.training import TRAINING_EVENT, TrainingProgress, TrainingRequest
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.adapters import ask_training, follow_training, list_adapters

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(400)]

DOCUMENTS, SESSIONS = 120, 200
ENOUGH_S = 120.0


@pytest.fixture(scope="module")
def system(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Documents with titles, and people who ask for them in words of their own and click them."""
    settings = {"indexer__batch": "64", "training__when_idle": "false"}
    with System(broker.bootstrap, tmp_path_factory.mktemp("trainer"), **settings) as system:
        indexer = system.start("indexer").wait_ready()
        documents = ((f"d{number}", {"title": f"thing number {number}"}) for number in range(DOCUMENTS))
        system.client.publish_many(documents, on_receipt=lambda receipt: None, timeout=60)
        assert indexer.stop() == 0
        _ask_and_click(system)
        yield system


def _ask_and_click(system: System) -> None:
    encoder = load_encoder("hash", threads=1)
    stamp = encoder.description.stamp
    vectors = encoded(encoder, [f"word{number}" for number in range(DOCUMENTS)])
    chance = np.random.default_rng(5)
    for number in range(SESSIONS):
        wanted = int(chance.integers(DOCUMENTS))
        shown = [wanted, *(int(each) for each in chance.integers(DOCUMENTS, size=4) if each != wanted)]
        chance.shuffle(shown)
        hits = [
            {"document_id": f"d{each}", "position": place, "score": 0.0, "propensity": 1 / place}
            for place, each in enumerate(dict.fromkeys(shown), start=1)
        ]
        impression = Impression.model_validate(
            {
                "query_id": f"q{number}",
                "session_id": f"s{number}",
                "parts": [{"kind": "text", "weight": 1.0}],
                "query_vector": StampedVector.of(stamp, "fused", vectors[wanted]),
                "shown": hits,
                "models": [stamp],
                "epoch": 0,
                "fresh_to": [],
                "at": datetime.now(UTC),
            }
        )
        click = Feedback(query_id=f"q{number}", document_id=f"d{wanted}", action="click")
        for topic, event in (("impressions", impression), ("feedback", click)):
            system.producer.produce(system.settings.topic(topic), event.to_json(), f"q{number}".encode())
    assert system.producer.flush(30) == 0


def progress(system: System, run: str) -> list[TrainingProgress]:
    events = (TRAINING_EVENT.validate_json(r.value or b"") for r in system.records("training"))
    return [each for each in events if isinstance(each, TrainingProgress) and each.run == run]


def finish(system: System, request: TrainingRequest) -> TrainingProgress:
    trainer = system.start("trainer").wait_ready()
    last = follow(system, request)
    assert trainer.stop() == 0
    return last


def follow(system: System, request: TrainingRequest) -> TrainingProgress:
    return follow_training(system.settings, request.run, on_progress=lambda event: None, timeout=ENOUGH_S)


def test_killed_anywhere_one_request_comes_to_one_adapter(system):
    request = ask_training(system.settings)
    trainer = system.start("trainer").wait_ready()
    eventually(lambda: progress(system, request.run), ENOUGH_S, what="it has told how far it is")
    trainer.kill()
    for place in ("in-transaction", "bundle-written"):
        while system.start("trainer", crash_at=f"{place}:1").wait_exit(ENOUGH_S) != -9:
            pytest.fail("it was not killed")
    last = finish(system, request)
    assert (last.stage, last.verdict) == ("done", "refused"), "there are too few known items"
    (line,) = list_adapters(system.settings)
    assert (line.version, line.state, line.verdict) == (last.version, "refused", "refused")

    stored = BundleStore(f"{system.settings.content_store}/bundles")
    bundle = stored.read(
        f"{ADAPTER_MODEL}@{line.version}", stamp=load_encoder("hash", threads=1).description.stamp
    )
    assert set(bundle.files) == {FILE, REPORT}
    assert bundle.manifest.training_window["impressions"] == {
        part.partition: (part.start, part.end) for part in request.window if part.topic == "impressions"
    }
    assert not bundle.manifest.gates["guard"].passed
    assert b"known-item queries say too little" in bundle.files[REPORT]
    assert not list(system.folder("trainer").glob("*/logs*")), "nothing of the logs stays"


def test_what_runs_is_finished_then_the_newest_request_overtakes_the_others_and_what_has_ended_is_not_run_again(
    system,
):
    first = ask(system)
    trainer = system.start("trainer").wait_ready()
    eventually(lambda: progress(system, first.run), ENOUGH_S, what="it has told how far it is")
    second, third = ask(system), ask(system)
    assert follow(system, third).stage == "done"
    assert stages(system, first)[-1] == "done"
    assert stages(system, second) == ["overtaken"]
    assert trainer.stop() == 0
    trainer = system.start("trainer").wait_ready()
    time.sleep(3)
    assert trainer.stop() == 0
    assert [stages(system, each).count("done") for each in (first, second, third)] == [1, 0, 1]


def ask(system: System) -> TrainingRequest:
    time.sleep(1.1)  # runs are named by the second
    return ask_training(system.settings)


def stages(system: System, request: TrainingRequest) -> list[str]:
    return [each.stage for each in progress(system, request.run)]
