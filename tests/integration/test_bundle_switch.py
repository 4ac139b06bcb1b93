"""A searcher takes over what the bundles that serve say, and goes on with those before a damaged one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from agents.model_log import FOLDER, FUSION_FILE
from models.adapter.adapter import FILE as ADAPTER_FILE
from models.adapter.adapter import QueryAdapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.registry import describe_encoder
from state.fusion import FusionWeights, MeasureWeight
from streams.broker import EmbeddedBroker
from streams.events.assignments import StampedVector
from streams.events.models import (
    ADAPTER_MODEL,
    QUERY_MODEL,
    ActiveModel,
    AdapterRollout,
    ModelBundle,
    bundle_key,
)
from tests.integration.world import WAIT_S, World, running_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

WORD = "quokka"


def test_weights_of_the_bundle_that_serves_decide_what_words_count(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with running_world(broker.bootstrap, tmp_path) as world:
        written = world.write("documents", key=world.key_in(0, "boots"), value=b'{"title": "quokka boots"}')
        world.receipt_of(written)
        full = wait_for_words(world, at_least=0.1)
        activate(world, "halved", fusion=lexical(10.0))
        half = wait_for_words(world, at_most=0.75 * full)
        assert half == pytest.approx(full / 2, rel=0.01)
        activate(world, "damaged", fusion=b"{")
        world.wait_for_log("searcher", "a bundle is refused")
        assert words(world) == pytest.approx(half, rel=0.01)
        activate(world, "back", fusion=lexical(20.0))
        assert wait_for_words(world, at_least=1.5 * half) == pytest.approx(full, rel=0.01)


def lexical(weight: float) -> bytes:
    measure = MeasureWeight(weight=weight, power=2.0, missing="nothing")
    return FusionWeights(lexical=measure).model_dump_json().encode()


def activate(world: World, version: str, *, fusion: bytes) -> None:
    manifest = Manifest(
        name=QUERY_MODEL, version=version, encoder_stamp=describe_encoder(world.settings.encoder).stamp
    )
    BundleStore(f"{world.settings.content_store}/{FOLDER}").write(Bundle.of(manifest, {FUSION_FILE: fusion}))
    event = ActiveModel(active=version, since=datetime.now(UTC))
    world.write("models", key=QUERY_MODEL.encode(), value=event.to_json())


def words(world: World) -> float:
    """What the word gives to the one document that has it; 0 while it is not found by it."""
    found = world.search({"text": WORD, "explain": True})
    return max((hit["parts"].get("lexical", 0.0) for hit in found["hits"]), default=0.0)


def wait_for_words(world: World, *, at_least: float = 0.0, at_most: float = float("inf")) -> float:
    deadline = time.monotonic() + WAIT_S
    while not at_least <= (given := words(world)) <= at_most:
        assert time.monotonic() < deadline, f"words give {given}"
        time.sleep(0.1)
    return given


TEAPOT = np.eye(64, dtype=np.float32)[0]


def test_an_adapter_moves_what_is_typed_for_those_that_the_rollout_says(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with running_world(broker.bootstrap, tmp_path) as world:
        stamp = describe_encoder(world.settings.encoder).stamp
        vector = StampedVector.of(stamp, "text", TEAPOT).model_dump(include={"stamp", "kind", "data"})
        keys = [world.key_in(0, name) for name in ("boots", "teapot")]
        for key, body in zip(keys, ({"title": "quokka boots"}, {"vectors": [vector]}), strict=True):
            world.receipt_of(world.write("documents", key=key, value=orjson.dumps(body)))
        boots, teapot = (key.decode() for key in keys)
        assert first_hit(world) == (boots, [stamp])
        put_adapter(world, "v1", to_teapot())
        roll_out(world, active="v1")
        wait_for_first(world, teapot, [stamp, "adapter@v1"])

        put_adapter(world, "damaged", b"{")
        roll_out(world, active="damaged")
        world.wait_for_log("searcher", "a bundle is refused")
        assert first_hit(world) == (teapot, [stamp, "adapter@v1"])

        roll_out(world, active=None, candidate="v1", share=1.0)
        wait_for_first(world, boots, [stamp], learn=False)  # a probe tries nothing
        assert first_hit(world) == (teapot, [stamp, "adapter@v1"])
        roll_out(world, active=None)
        wait_for_first(world, boots, [stamp])


def to_teapot() -> bytes:
    """Moves every query to the teapot, whatever it says."""
    inner, bias = np.zeros((1, 64), dtype=np.float32), np.full(1, 100.0, dtype=np.float32)
    return QueryAdapter(inner, bias, TEAPOT[:, None].copy()).to_bytes()


def put_adapter(world: World, version: str, adapter: bytes) -> None:
    stamp = describe_encoder(world.settings.encoder).stamp
    manifest = Manifest(name=ADAPTER_MODEL, version=version, encoder_stamp=stamp)
    store = BundleStore(f"{world.settings.content_store}/{FOLDER}")
    uri = store.write(Bundle.of(manifest, {ADAPTER_FILE: adapter}))
    event = ModelBundle(name=ADAPTER_MODEL, version=version, uri=uri, encoder_stamp=stamp)
    world.write("models", key=bundle_key(ADAPTER_MODEL, version).encode(), value=event.to_json())


def roll_out(world: World, *, active: str | None, candidate: str | None = None, share: float = 0.0) -> None:
    event = AdapterRollout(active=active, candidate=candidate, share=share, since=datetime.now(UTC))
    world.write("models", key=ADAPTER_MODEL.encode(), value=event.to_json())


def first_hit(world: World, *, learn: bool = True) -> tuple[str, list[str]]:
    """The best hit, and the models that took part."""
    found = world.search({"text": WORD, "mode": "dense", "learn": learn})
    return found["hits"][0]["document_id"], found["models"]


def wait_for_first(world: World, document_id: str, models: list[str], *, learn: bool = True) -> None:
    deadline = time.monotonic() + WAIT_S
    while (found := first_hit(world, learn=learn)) != (document_id, models):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
