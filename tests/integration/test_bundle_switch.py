"""A searcher takes over the weights of the bundle that serves, and goes on with the one before a damaged one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.model_log import FOLDER, FUSION_FILE
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.registry import describe_encoder
from state.fusion import FusionWeights, MeasureWeight
from streams.broker import EmbeddedBroker
from streams.events.models import QUERY_MODEL, ActiveModel
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
