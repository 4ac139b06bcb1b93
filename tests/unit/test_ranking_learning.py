"""Weights of fine-ranking from simulated clicks that depend on position: what is there is found, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranking.learning import FEWEST, MOST, WORDS, Choices, learn_weights
from models.ranking.weights import Signal
from streams.errors import ModelError

pytest.importorskip("scipy")

SIGNALS: tuple[Signal, ...] = ("freshness", "authority", "click_rate")
LENGTH, DOCUMENTS = 10, 500


def clicked(
    seed: int,
    weights: dict[Signal, float],
    *,
    lists: int = 10_000,
    beta: float = 1.0,
    base: float = -3.0,
    names: tuple[Signal, ...] = SIGNALS,
) -> Choices:
    """Lists by falling relevance; whoever looks at a position clicks by relevance and signals, but for `beta` 0."""
    chance = np.random.default_rng(seed)
    documents = chance.integers(DOCUMENTS, size=(lists, LENGTH))
    signals = chance.random((DOCUMENTS, len(names)))[documents]
    relevance = -np.sort(-chance.random((lists, LENGTH)) * 2, axis=1)
    examination = np.broadcast_to(1 / np.arange(1.0, LENGTH + 1), relevance.shape)
    added = sum(weights.get(name, 0.0) * signals[..., place] for place, name in enumerate(names))
    wanted = np.exp(beta * (relevance + added) + base)
    clicks = chance.random(relevance.shape) < examination * wanted
    of_click, place = np.nonzero(clicks)
    return Choices(
        choice=np.repeat(np.arange(len(of_click)), LENGTH),
        chosen=(np.arange(LENGTH) == place[:, None]).ravel(),
        document=documents[of_click].ravel(),
        examination=examination[of_click].ravel(),
        relevance=relevance[of_click].ravel(),
        signals=signals[of_click].reshape(-1, len(names)),
        names=names,
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_people_prefer_is_found_whatever_the_positions_do(seed: int):
    known: dict[Signal, float] = {"freshness": 1.0, "authority": 0.5}
    found = learn_weights(clicked(seed, known))
    assert found.keys() == known.keys(), "nothing is learned of the click rate, which says nothing"
    for name, weight in known.items():
        assert found[name] == pytest.approx(weight, rel=0.25)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_clicks_teach_nothing(seed: int):
    assert learn_weights(clicked(seed, {}, beta=0.0)) == {}


def test_what_people_avoid_is_not_learned():
    assert "freshness" not in learn_weights(clicked(3, {"freshness": -1.0, "authority": 1.0}))


def test_no_weight_does_more_than_twice_what_relevance_does():
    choices = clicked(4, {"freshness": 6.0}, base=-7.0)
    assert learn_weights(choices)["freshness"] == pytest.approx(MOST * choices.spread, rel=1e-4)


@pytest.mark.parametrize(("weight", "expected"), [(0.6, 0.6), (-0.6, -0.6), (5.0, WORDS[1])])
def test_words_may_count_more_or_less(weight: float, expected: float):
    found = learn_weights(clicked(5, {"words": weight}, names=("words",)))
    assert found["words"] == pytest.approx(expected, abs=0.25)


def test_few_clicks_and_signals_that_all_documents_share_teach_nothing():
    choices = clicked(6, {"freshness": 2.0}, lists=4_000)
    few = choices.choice < FEWEST - 1
    arrays = {
        name: getattr(choices, name)[few]
        for name in ("choice", "chosen", "document", "examination", "relevance", "signals")
    }
    assert learn_weights(Choices(**arrays, names=SIGNALS)) == {}
    alike = np.ones((len(choices.choice), 1))
    arrays = {name: getattr(choices, name) for name in arrays} | {"signals": alike}
    assert learn_weights(Choices(**arrays, names=["freshness"])) == {}


def test_the_same_clicks_teach_the_same():
    first, second = (learn_weights(clicked(7, {"freshness": 1.0}, lists=4_000)) for _ in range(2))
    assert first == second != {}


def test_a_choice_of_two_documents_is_none():
    choices = clicked(8, {}, lists=100)
    with pytest.raises(ModelError, match="one document that was chosen"):
        Choices(**{**vars(choices), "chosen": np.ones_like(choices.chosen)})
