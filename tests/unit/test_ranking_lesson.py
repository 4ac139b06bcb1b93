"""From a joined window to weights that the guard bears, by the classes of the trainer over a made-up world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.judging import Judging
from agents.ranking_lesson import learn_ranking, wanted_fields
from agents.training import with_ranking
from benchmarks.ranking import CITED, SETTINGS, STAMP, Taste, World, asked
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from models.ranking.weights import PUBLISHED_AT, Freshness, Ranking
from streams.settings import RankingSettings

pytest.importorskip("scipy")

SESSIONS = 1_200


@pytest.fixture(scope="module")
def fresh():
    world = World(0, Taste("new", fresh=3.0), topics=20)
    with asked(world, sessions=SESSIONS) as window:
        yield world, window


def judging_of(world: World, window, incumbent: Ranker = NOTHING_LEARNED) -> Judging:
    return Judging(window, world.catalogue, world.known_items(200), incumbent=incumbent, stamp=STAMP)


def test_a_taste_for_what_is_new_is_learned_and_nothing_else(fresh):
    world, window = fresh
    learned = learn_ranking(window.taught, world.catalogue, SETTINGS)
    assert set(learned.weights) == {"freshness"}
    assert learned.freshness is not None
    assert learned.freshness.half_life_d == SETTINGS.half_life_d
    assert learn_ranking(window.taught, world.catalogue, SETTINGS) == learned


def test_what_the_settings_leave_out_is_not_learned(fresh):
    world, window = fresh
    settings = RankingSettings(freshness=False)
    assert "freshness" not in learn_ranking(window.taught, world.catalogue, settings).weights
    assert wanted_fields(settings) == {PUBLISHED_AT}
    assert wanted_fields(SETTINGS, Ranking()) == {PUBLISHED_AT, CITED}


def test_without_dates_nothing_is_learned_of_them(fresh):
    world, window = fresh
    undated = {**world.catalogue.values, PUBLISHED_AT: np.full(len(world.catalogue.ids), np.nan)}
    learned = learn_ranking(window.taught, replace(world.catalogue, values=undated), SETTINGS)
    assert "freshness" not in learned.weights


def test_lists_whose_relevance_is_not_known_or_that_were_interleaved_are_not_learned_from(fresh):
    world, window = fresh
    rows = window.taught.rows
    old = {
        name: row._replace(shown=[hit._replace(relevance=None) for hit in row.shown])
        for name, row in rows.items()
    }
    both = {name: row._replace(arm="interleaved") for name, row in rows.items()}
    for changed in (old, both):
        answers = replace(window.taught, rows=changed)
        assert learn_ranking(answers, world.catalogue, SETTINGS) == Ranking()


def test_judged_scores_are_those_of_relevance_and_what_is_added(fresh):
    world, window = fresh
    ranking = Ranking(freshness=Freshness(weight=0.7, half_life_d=30))
    judging, queries = judging_of(world, window), world.queries(3)
    plain = np.array(list(judging.scores(queries, NOTHING_LEARNED)))
    fine = np.array(list(judging.scores(queries, Ranker(None, ranking))))
    ends_at = max(row.at for side in (window.taught, window.held_out) for row in side.rows.values())
    age_d = (ends_at - world.catalogue.values[PUBLISHED_AT]) / 86_400
    np.testing.assert_allclose(fine - plain, np.tile(0.7 * 0.5 ** (age_d / 30), (3, 1)), atol=1e-4)


def test_the_guard_weakens_or_leaves_out_what_it_does_not_bear(fresh):
    world, window = fresh
    judging = judging_of(world, window)
    mild, wild = (Ranking(freshness=Freshness(weight=weight, half_life_d=30)) for weight in (1e-4, 1e4))
    assert with_ranking(judging, NOTHING_LEARNED, mild) == (Ranker(None, mild), 1.0)
    assert with_ranking(judging, NOTHING_LEARNED, wild) == (NOTHING_LEARNED, 0.0)
    assert with_ranking(judging, NOTHING_LEARNED, Ranking()) == (NOTHING_LEARNED, 0.0)


def test_what_serves_is_judged_with_its_own_weights(fresh):
    world, window = fresh
    serving = Ranker(None, Ranking(freshness=Freshness(weight=5.0, half_life_d=30)))
    guard = judging_of(world, window, serving).guard(serving)
    np.testing.assert_array_equal(guard.before, guard.after)
    assert not np.array_equal(guard.before, judging_of(world, window).guard(serving).before)
