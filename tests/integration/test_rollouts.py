"""A real system tries what the gates accept: what helps comes to serve everybody, what harms is taken back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from agents.model_log import FOLDER
from models.adapter.adapter import FILE, QueryAdapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.registry import describe_encoder
from streams.broker import EmbeddedBroker
from streams.events.impressions import Impression
from streams.events.models import ADAPTER_MODEL, AdapterRollout, ModelBundle, bundle_key
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.adapters import ask_rollout, list_adapters, plan_promotion, plan_roll_back

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

GOOD, BAD = "wanted", "unwanted"
ENOUGH_S = 120.0


@pytest.fixture
def system(broker: EmbeddedBroker, tmp_path) -> Iterator[System]:
    settings = {
        "rollout__session_s": "0.5",
        "rollout__canary_share": "0.5",
        "rollout__canary_sessions": "40",
        "rollout__step_sessions": "40",
        "learning__shuffled_share": "0",
    }
    with System(broker.bootstrap, tmp_path, **settings) as system:
        for worker in [system.start(role) for role in ("indexer", "searcher", "learner")]:
            worker.wait_ready()
        dimension = describe_encoder("hash").dimension
        for place, name in enumerate((GOOD, BAD)):
            vector = {
                "stamp": describe_encoder("hash").stamp,
                "kind": "text",
                "data": _axis(place, dimension),
            }
            system.client.publish(name, {"title": name, "vectors": [vector]}, wait=30)
        yield system


def test_what_people_like_better_comes_to_serve_everybody_and_what_they_do_not_is_taken_back(system):
    train(system, "good", towards=0)
    _people_until(system, lambda: state(system, "good") == "active")
    shares = [(each.candidate, each.share, each.interleaved) for each in rollouts(system)]
    assert shares == [("good", 0.5, True), ("good", 0.25, False), ("good", 0.5, False), (None, 0.0, False)]
    assert system.client.search("anything", mode="dense", learn=False).models[-1] == "adapter@good"

    train(system, "bad", towards=1)
    _people_until(system, lambda: state(system, "bad") == "given up")
    assert state(system, "good") == "active"
    taught = [Impression.model_validate_json(r.value or b"") for r in system.records("impressions")]
    both = [each for each in taught if each.arm == "interleaved" and "adapter@bad" in each.models]
    assert both, "its canary was interleaved"
    assert {tuple(hit.team for hit in each.shown) for each in both} <= {
        ("incumbent", "candidate"),
        ("candidate", "incumbent"),
    }


def test_somebody_promotes_and_takes_back(system):
    train(system, "refused", towards=0, verdict="refused")
    plan = plan_promotion(system.settings, "refused", canary=False, force=True)
    assert ask_rollout(system.settings, plan, timeout=30).active == "refused"
    eventually(
        lambda: system.client.search("x", mode="dense").models[-1] == "adapter@refused",
        30,
        what="the searcher answers by it",
    )
    plan, _ = plan_roll_back(system.settings)
    back = ask_rollout(system.settings, plan, timeout=30)
    assert (back.active, back.given_up) == (None, ["refused"])
    assert state(system, "refused") == "given up"


def train(system: System, version: str, *, towards: int, verdict: str = "accepted") -> None:
    """An adapter that moves every query to one of the two documents, as the trainer would publish it."""
    described = describe_encoder("hash")
    direction = np.zeros((described.dimension, 1), dtype=np.float32)
    direction[towards] = 1.0
    inner, bias = np.zeros((1, described.dimension), dtype=np.float32), np.full(1, 50.0, dtype=np.float32)
    adapter = QueryAdapter(inner, bias, direction).to_bytes()
    manifest = Manifest(name=ADAPTER_MODEL, version=version, encoder_stamp=described.stamp)
    store = BundleStore(f"{system.settings.content_store}/{FOLDER}")
    uri = store.write(Bundle.of(manifest, {FILE: adapter}))
    event = ModelBundle.model_validate(
        {
            "name": ADAPTER_MODEL,
            "version": version,
            "uri": uri,
            "encoder_stamp": described.stamp,
            "verdict": verdict,
        }
    )
    key = bundle_key(ADAPTER_MODEL, version).encode()
    system.producer.produce(system.settings.topic("models"), key=key, value=event.to_json())
    assert system.producer.flush(10) == 0


def state(system: System, version: str) -> str | None:
    return next((each.state for each in list_adapters(system.settings) if each.version == version), None)


def rollouts(system: System) -> list[AdapterRollout]:
    found = (r for r in system.records("models") if r.key == ADAPTER_MODEL.encode())
    return [AdapterRollout.model_validate_json(record.value or b"") for record in found]


def _people_until(system: System, is_so) -> None:
    """People who click what they want wherever it is shown, in sessions of one query."""
    deadline = time.monotonic() + ENOUGH_S
    while not is_so():
        assert time.monotonic() < deadline, rollouts(system)
        for _ in range(20):
            word = uuid.uuid4().hex  # of which clicks on others say nothing
            found = system.client.search(word, mode="dense", session_id=f"session of {word}", timeout=30)
            assert [hit.document_id for hit in found.hits or []].count(GOOD) == 1
            system.client.click(found.query_id, GOOD)


def _axis(place: int, dimension: int) -> str:
    import base64

    row = np.zeros(dimension, dtype="<f2")
    row[place] = 1.0
    return base64.b64encode(row.tobytes()).decode()
