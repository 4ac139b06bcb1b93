"""Fine-ranking as a searcher applies it, against plain arithmetic; and what a bundle may say of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.adapter.adapter import FILE as ADAPTER_FILE
from models.adapter.adapter import QueryAdapter
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from models.ranking.weights import (
    FILE,
    PUBLISHED_AT,
    Authority,
    ClickRate,
    Freshness,
    Ranking,
    Signals,
    Words,
)
from streams.errors import ModelError

NAN = math.nan
AT, DAY_S = 1_800_000_000.0, 86_400.0
CITED = (0.0, 1.0, 1.0, 5.0, 100.0)
RANKING = Ranking(
    freshness=Freshness(weight=0.5, half_life_d=10),
    authority=Authority(weight=2.0, field="cited", quantiles=CITED),
    click_rate=ClickRate(weight=3.0, prior=4.0, rate=0.1),
    words=Words(weight=-0.25),
)
ADAPTER = QueryAdapter(
    np.zeros((1, 2), dtype=np.float32), np.zeros(1, dtype=np.float32), np.zeros((2, 1), dtype=np.float32)
)


def known(seed: int = 0, count: int = 200) -> Signals:
    chance = np.random.default_rng(seed)
    published = AT + DAY_S * chance.uniform(-100, 5, count)
    cited = chance.choice([NAN, -3.0, *CITED, 7.5, 1e9], count)
    published[::7] = NAN
    numbers = {PUBLISHED_AT: published, "cited": cited}
    return Signals(numbers, chance.random(count) * 9, chance.random(count) * 9, chance.random(count) * 5)


def test_parts_are_those_of_plain_arithmetic():
    documents = known()
    parts = RANKING.parts(documents, at=AT)
    assert list(parts) == ["freshness", "authority", "click_rate", "words"]
    for n, (published, cited) in enumerate(zip(*documents.numbers.values(), strict=True)):
        age_d = max(0.0, AT - published) / DAY_S
        fresh = 0.0 if math.isnan(published) else 0.5 * 2 ** (-age_d / 10)
        below = sum((each < cited) + 0.5 * (each == cited) for each in CITED) / len(CITED)
        rate = (documents.clicks[n] + 0.4) / (documents.expected[n] + 4) - 0.1
        expected = (fresh, 2 * below, 3 * min(1, rate), -0.25 * documents.lexical[n])
        assert [each[n] for each in parts.values()] == pytest.approx(expected)


def test_nothing_is_added_where_nothing_is_known_and_nothing_was_learned():
    nothing = Signals(
        {PUBLISHED_AT: np.array([NAN]), "cited": np.array([NAN])}, *(np.zeros(1) for _ in range(3))
    )
    assert [each.tolist() for each in RANKING.parts(nothing, at=AT).values()] == [[0], [0], [0], [0]]
    assert Ranking().parts(known(), at=AT) == {}
    assert (Ranking().weights, Ranking().fields) == ({}, set())


def test_each_document_may_have_a_time_of_its_own():
    documents = known(1)
    times = AT + np.arange(200.0) * DAY_S
    together = RANKING.parts(documents, at=times)["freshness"]
    np.testing.assert_array_equal(
        together, [RANKING.parts(documents, at=at)["freshness"][n] for n, at in enumerate(times)]
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_weakened_is_the_share_of_every_part(share: float):
    documents = known(2)
    weakened = RANKING.weakened(share)
    assert weakened.fields == (RANKING.fields if share else set())
    whole = sum(RANKING.parts(documents, at=AT).values())
    np.testing.assert_allclose(sum(weakened.parts(documents, at=AT).values(), np.zeros(200)), share * whole)


def test_what_a_bundle_says_is_what_was_written():
    ranker = Ranker(ADAPTER, RANKING)
    again = Ranker.from_files(ranker.to_files(), dimension=2)
    assert (again.ranking, again.to_files()) == (RANKING, ranker.to_files())


def test_a_bundle_without_weights_ranks_as_before():
    files = Ranker(ADAPTER).to_files()
    assert set(files) == {ADAPTER_FILE}
    assert Ranker.from_files(files, dimension=2).ranking == Ranking() == NOTHING_LEARNED.ranking


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"freshness": {"weight": -1, "half_life_d": 30}}',
        '{"freshness": {"weight": 1, "half_life_d": 0}}',
        '{"freshness": {"weight": 1e999, "half_life_d": 30}}',
        '{"authority": {"weight": 1, "field": "cited", "quantiles": [2, 1]}}',
        '{"authority": {"weight": 1, "field": "", "quantiles": [1, 2]}}',
        '{"words": {"weight": -2}}',
        '{"youth": {"weight": 1}}',
    ],
)
def test_weights_that_cannot_be_used_are_refused(text: str):
    files = {**Ranker(ADAPTER).to_files(), FILE: text.encode()}
    with pytest.raises(ModelError, match=r"ranking\.json is not readable"):
        Ranker.from_files(files, dimension=2)


def test_a_bundle_without_an_adapter_is_none_of_the_trainer():
    with pytest.raises(ModelError, match=ADAPTER_FILE):
        Ranker.from_files(Ranker(None, RANKING).to_files(), dimension=2)
