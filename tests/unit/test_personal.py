"""What a person chose before moves what the person writes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.asked import QueryVector
from agents.codebook_log import Codebooks
from agents.found import Found
from agents.searching import Searching
from state.live_index import Removal
from streams.events.queries import PartRole, Query, SearchMode
from streams.settings import PersonalSettings, Settings
from tests.unit.test_searching import AXES, NAMES, Tree, searching_with

LIKES_VANS = ("blue van", "red van")


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searching]:
    settings = Settings(personal=PersonalSettings(weight=0.3))
    with searching_with(settings, tmp_path_factory.mktemp("personal")) as made:
        yield made


def ask(
    searching: Searching,
    *history: str,
    mode: SearchMode = "dense",
    roles: Sequence[PartRole] = ("and",),
    explain: bool = True,
    is_typed: bool = True,
) -> Found:
    texts = ("red", "blue")[: len(roles)]
    parts = [{"text": text, "role": role} for text, role in zip(texts, roles, strict=True)]
    query = Query.model_validate({"parts": parts, "mode": mode, "explain": explain})
    vectors = [
        QueryVector("text", AXES[text], None, 1.0, role, is_typed=is_typed)
        for text, role in zip(texts, roles, strict=True)
    ]
    return searching.search(
        query, lambda: vectors, Codebooks(trees={1: Tree()}, active=1), history=list(history)
    )


def scores(found: Found) -> dict[str, float]:
    return {hit.document_id: hit.score for hit in found.hits}


@pytest.mark.parametrize("mode", ["dense", "generative", "auto"])
def test_two_people_see_the_same_query_in_another_order(searching: Searching, mode: SearchMode) -> None:
    nobody, vans, cars = (
        scores(ask(searching, *history, mode=mode)) for history in ((), ("red van",), ("red car",))
    )
    assert nobody["red van"] == pytest.approx(nobody["red car"], abs=1e-3)
    assert vans["red van"] > vans["red car"] + 0.05
    assert cars["red car"] > cars["red van"] + 0.05
    assert ask(searching, mode=mode).hits[0].document_id == "red"


def test_no_history_and_an_unknown_one_give_the_very_same_scores(searching: Searching) -> None:
    assert scores(ask(searching, "never-published")) == scores(ask(searching))
    assert ask(searching, "never-published").history == []


def test_documents_that_had_a_part_are_told_and_those_that_are_gone_are_not(tmp_path: Path) -> None:
    with searching_with(Settings(), tmp_path) as searching:
        assert ask(searching, "red van", "gone", "blue van").history == ["red van", "blue van"]
        searching._index.apply([Removal("red van")])
        assert ask(searching, "red van", "gone", "blue van").history == ["blue van"]


@pytest.mark.parametrize("mode", ["dense", "generative", "auto"])
def test_what_is_personal_is_a_part_of_its_own_and_all_parts_sum_to_the_score(
    searching: Searching, mode: SearchMode
) -> None:
    plain, moved = ask(searching, mode=mode), ask(searching, *LIKES_VANS, mode=mode)
    assert not any("personal" in (hit.parts or {}) for hit in plain.hits)
    for hit in moved.hits:
        parts = hit.parts or {}
        assert sum(parts.values()) == pytest.approx(hit.score, abs=1e-5)
    told = {hit.document_id: (hit.parts or {}).get("personal", 0.0) for hit in moved.hits}
    assert told["red van"] == max(told.values()) > 0


def test_who_asks_for_no_explanation_gets_the_same_scores(searching: Searching) -> None:
    without = ask(searching, *LIKES_VANS, explain=False)
    assert scores(without) == scores(ask(searching, *LIKES_VANS))
    assert all(hit.parts is None for hit in without.hits)


@pytest.mark.parametrize(
    "asked",
    [{"roles": ("and", "not")}, {"roles": ("or", "or")}, {"mode": "lexical"}, {"is_typed": False}],
    ids=str,
)
def test_what_is_no_sum_of_written_words_is_answered_to_all_alike(searching: Searching, asked: dict) -> None:
    personal = ask(searching, *LIKES_VANS, **asked)
    assert personal.history == []
    assert scores(personal) == scores(ask(searching, **asked))


def test_a_weight_of_nothing_and_a_history_that_does_not_fit_change_nothing_that_counts(
    searching: Searching, tmp_path: Path
) -> None:
    with searching_with(Settings(personal=PersonalSettings(weight=0.0)), tmp_path) as off:
        assert ask(off, *LIKES_VANS).history == []
        assert scores(ask(off, *LIKES_VANS)) == scores(ask(off))
    far = scores(ask(searching, "blue car"))
    assert all(abs(far[name] - score) < 0.1 for name, score in scores(ask(searching)).items())


def test_the_vectors_that_impressions_and_click_memory_see_stay_as_they_were(searching: Searching) -> None:
    found = ask(searching, *LIKES_VANS)
    assert np.array_equal(found.vectors[0].vector, AXES["red"])
    assert set(NAMES) >= set(found.history) == set(LIKES_VANS)
