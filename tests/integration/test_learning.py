"""Simulated people teach a real system in a few hundred sessions: new words, and nothing else gets worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from benchmarks.learning.people import Habits, People, things_of
from benchmarks.learning.stage import click_to_change_ms, encoded, publish
from benchmarks.learning.world import Asked, Kind, World, make_world
from models.encoders.registry import load_encoder
from streams.broker import EmbeddedBroker
from streams.events.click_memory import SUMMARY_KEY, MemorySummary
from streams.events.impressions import Impression
from tests.recovery.system import System

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SEED = 3
KINDS: tuple[Kind, ...] = ("words seen", "words unseen", "near", "far")
Figures = Mapping[Kind, float]


@pytest.fixture(scope="module")
def system(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {
        "indexer__batch": "64",
        "rollout__session_s": "0.5",
        "rollout__canary_share": "0.5",
        "rollout__canary_sessions": "40",
    }
    with System(broker.bootstrap, tmp_path_factory.mktemp("learning"), **settings) as system:
        for worker in [system.start(role) for role in ("indexer", "searcher", "learner")]:
            worker.wait_ready()
        yield system


@pytest.fixture(scope="module")
def world(system: System) -> World:
    encoder = load_encoder("hash", threads=1)
    made = make_world(SEED, lambda texts: encoded(encoder, texts), count=500, lessons=4)
    publish(system.client, made, stamp=encoder.description.stamp)
    return made


@pytest.fixture(scope="module")
def taught(system: System, world: World) -> tuple[Figures, Figures]:
    """How good answers were before people had clicked, and after."""
    before = _found(system, world)
    people = People(system.client, world, seed=SEED, habits=Habits(rephrases=0.7))
    people.go_on(lambda tally: tally.clicks >= 250, most=2_000)
    return before, _found(system, world)


def _found(system: System, world: World) -> Figures:
    """By kind of query, how many of the first ten are wanted, in percent of as many as could be."""
    return {
        kind: 100 * float(np.mean([_share(system, each) for each in world.of(kind)[:60]])) for kind in KINDS
    }


def _share(system: System, asked: Asked) -> float:
    hits = system.client.search({"text": asked.text, "mode": "dense"}, learn=False).hits or []
    wanted = asked.wanted[things_of([hit.document_id for hit in hits])] > 0
    return float(wanted.sum() / min(10, (asked.wanted > 0).sum()))


def test_people_teach_words_that_nobody_explained_and_what_is_not_taught_stays(
    taught: tuple[Figures, Figures],
) -> None:
    before, after = taught
    assert before["words unseen"] < 15
    assert after["words unseen"] > before["words unseen"] + 15
    assert after["words seen"] > before["words seen"] + 15
    untouched: tuple[Kind, ...] = ("far", "near")
    for kind in untouched:
        assert after[kind] > before[kind] - 1.0


def test_a_click_changes_the_next_answers_and_they_say_so(
    system: System, taught: tuple[Figures, Figures]
) -> None:
    assert len(click_to_change_ms(system.client, 3)) == 3


def test_one_who_clicks_the_same_everywhere_pushes_it_nowhere(
    system: System, world: World, taught: tuple[Figures, Figures]
) -> None:
    spammed = 7
    people = People(
        system.client, world, seed=SEED + 1, habits=Habits(spam=1.0, spammed=spammed), mode="dense"
    )
    people.go_on(lambda tally: tally.sessions >= 60)
    asked = [each for each in world.of("ordinary") if not each.wanted[spammed]][:60]
    shown = 0
    for each in asked:
        hits = system.client.search({"text": each.text, "mode": "dense"}, learn=False).hits or []
        shown += any(hit.document_id == f"thing-{spammed}" for hit in hits)
    assert shown <= 2


def test_chance_decides_in_a_fifth_of_the_sessions_and_the_summary_tells(
    system: System, taught: tuple[Figures, Figures]
) -> None:
    impressions = [Impression.model_validate_json(r.value or b"") for r in system.records("impressions")]
    late = [each for each in impressions if each.memory_offset >= 0]
    assert 0.1 < np.mean([each.shuffled for each in late]) < 0.35
    assert all(bool(each.random_pairs) == each.shuffled for each in impressions)
    assert not any(each.parts[0].text for each in impressions), "words are not logged"
    latest = {record.key: record.value for record in system.records("click-memory")}
    summary = MemorySummary.model_validate_json(latest[SUMMARY_KEY.encode()] or b"")
    assert summary.queries > 50
    assert 0 < summary.exponent < 2


def test_an_adapter_that_learned_from_shuffled_clicks_is_given_up_though_somebody_forced_it(
    system: System, world: World, taught: tuple[Figures, Figures]
) -> None:
    pytest.importorskip("torch")
    from benchmarks.learning.forced import VERSION, publish_adapter, train_on_shuffled, until_taken_back

    encoder = load_encoder("hash", threads=1)
    adapter, judgement = train_on_shuffled(system.settings, encoder, seed=SEED)
    assert judgement.verdict == "refuse"
    publish_adapter(system.settings, encoder, adapter, judgement)
    taken = until_taken_back(system.settings, People(system.client, world, seed=SEED + 2))
    assert taken.rollout.given_up == [VERSION]
    assert taken.rollout.active is None
    assert taken.canary.z < 2
