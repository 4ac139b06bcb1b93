"""Adapters in the benchmark: what they learn from, the table of the ablation, how a forced one is watched."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.learning.ablation import KINDS, RECIPES, Row, ablate, table
from benchmarks.learning.adapters import make_lesson, shuffled_clicks
from benchmarks.learning.exact_system import ExactSystem, ndcg, ranks_of, top_of
from benchmarks.learning.forced import Seen, Taken, WatchedClient, phases
from benchmarks.learning.people import People
from benchmarks.learning.study import Size, Study
from models.adapter.data import Lesson
from models.encoders.registry import load_encoder
from streams.errors import TrieflowError
from streams.events.models import AdapterRollout


@pytest.fixture(scope="module")
def study() -> Study:
    """The plain encoder is enough here, and quick."""
    return Study(3, load_encoder("hash", threads=1), Size(clicks=200, things=300, lessons=4, guard=200))


@pytest.fixture(scope="module")
def lesson(study: Study) -> Lesson:
    return make_lesson(study, study.training)


def test_each_click_is_a_pair_and_with_one_on_a_rephrasing_the_query_before_counts_half(
    study: Study, lesson: Lesson
) -> None:
    clicked = sum(len(answer.clicked) for answer in study.training)
    linked = sum(len(answer.clicked) for answer in study.training if answer.previous is not None)
    assert linked
    everything = make_lesson(study, study.training, most=1_000)
    assert Counter(everything.clicks.weights.tolist()) == {1.0: clicked, 0.5: linked}
    assert len(lesson.clicks) <= len(everything.clicks)


def test_no_user_counts_more_often_for_a_thing_than_the_learner_lets_him(study: Study) -> None:
    answers = [replace(answer, user="one") for answer in study.training if answer.previous is None]
    targets = Counter(make_lesson(study, answers).clicks.targets.tolist())
    assert max(targets.values()) == study.settings.clicks_per_user
    assert max(Counter(make_lesson(study, answers, most=1_000).clicks.targets.tolist()).values()) > 3


def test_texts_that_are_said_again_name_one_thing_alone_and_guard_nothing(
    study: Study, lesson: Lesson
) -> None:
    rows = np.concatenate([lesson.titles.queries, lesson.tags.queries])
    assert len(np.unique(rows, axis=0)) > 0.9 * len(rows)
    assert len(lesson.titles) <= len(study.things)
    guard = {row.tobytes() for row in study.vectors[study.guard_rows]}
    assert not guard & {row.tobytes() for row in lesson.clicks.queries}


def test_shuffled_clicks_have_the_same_queries_and_things_in_other_pairs(lesson: Lesson) -> None:
    shuffled = shuffled_clicks(lesson, 1).clicks
    assert np.array_equal(shuffled.queries, lesson.clicks.queries)
    assert sorted(shuffled.targets) == sorted(lesson.clicks.targets)
    assert np.mean(shuffled.targets == lesson.clicks.targets) < 0.5


def test_an_ablation_tells_the_recommended_adapter_and_how_others_differ(study: Study) -> None:
    names = ("recommended", "no clicks", "neither, no WiSE (naive pairs)")
    rows = ablate(study, {name: RECIPES[name] for name in names})
    by_name = {row.name: row for row in rows}
    assert by_name["recommended"].ndcg["preferences seen"] > by_name["nothing"].ndcg["preferences seen"]
    assert by_name["no clicks"].ndcg["words seen"] < by_name["recommended"].ndcg["words seen"]
    assert by_name["neither, no WiSE (naive pairs)"].share == 1.0
    header, cells = table(rows)
    assert len(header) == len(cells[0])
    difference = by_name["no clicks"].ndcg["words seen"] - by_name["recommended"].ndcg["words seen"]
    assert [row[1] for row in cells if row[0] == "no clicks"] == [f"{difference:+.1f}"]


def test_over_seeds_a_cell_is_mean_and_deviation_of_paired_differences() -> None:
    def row(seed: int, name: str, value: float) -> Row:
        return Row(seed, name, dict.fromkeys(KINDS, value), 1.0, (0.0, 0.0), "refuse")

    rows = [row(0, "recommended", 50.0), row(1, "recommended", 60.0), row(0, "x", 51.0), row(1, "x", 63.0)]
    _, cells = table(rows)
    assert [cell[1] for cell in cells] == ["55.0 ± 7.1", "+2.0 ± 1.4"]
    assert cells[0][-1] == "refuse: 2"


def test_ndcg_is_one_for_the_best_list_and_what_the_formula_says_else() -> None:
    wanted = np.array([[0.8, 0.3, 0, 0.3]], dtype=np.float32)
    assert ndcg(wanted, np.array([[0, 1, 3]]))[0] == pytest.approx(1.0)
    found = ndcg(wanted, np.array([[2, 0, 1]]))[0]
    ideal = 0.8 + 0.3 / np.log2(3) + 0.3 / 2
    assert found == pytest.approx((0.8 / np.log2(3) + 0.3 / 2) / ideal)


def test_the_guard_of_a_study_ranks_what_its_queries_want(study: Study) -> None:
    guard = study.guard(study.incumbent[study.guard_rows])
    assert np.array_equal(guard.before, guard.after)
    first = int(study.guard_rows[0])
    assert guard.before[0] == ranks_of(study.incumbent, np.array([first]), study.wanted[:1])[0]


def test_a_watched_client_notes_how_good_each_list_was(study: Study) -> None:
    rows = {asked.text: row for row, asked in enumerate(study.world.asked)}
    system = ExactSystem(study.incumbent, rows, shuffled_share=0.0)
    watched = WatchedClient(system, study.world)  # type: ignore[arg-type]
    People(watched, study.world, seed=1).go_on(lambda tally: tally.queries >= 20)  # type: ignore[arg-type]
    answers = {(answer.session, answer.text): answer for answer in system.answers.values()}
    assert len(watched.seen) == len(system.answers)
    assert not any(each.is_tried for each in watched.seen)
    expected = [
        float(ndcg(study.world.asked[answer.text].wanted[None], top_of(study.incumbent[[answer.text]]))[0])
        for answer in answers.values()
    ]
    assert sorted({round(each.ndcg, 5) for each in watched.seen}) == sorted(
        {round(each, 5) for each in expected}
    )


def test_lists_are_told_by_phase_and_before_means_as_many_as_meanwhile() -> None:
    seen = [Seen(str(n), 0.5, is_tried=False) for n in range(6)]
    seen += [Seen("a", 0.2, is_tried=True), Seen("b", 0.4, is_tried=True), Seen("c", 0.6, is_tried=False)]
    seen += [Seen("d", 0.7, is_tried=False)] * 2
    told = {row[0]: row[1:3] for row in phases(seen, 6, 9)}
    assert told["before"] == [3, pytest.approx(50)]
    assert told["meanwhile, all"] == [3, pytest.approx(40)]
    assert told["meanwhile, with the candidate"] == [2, pytest.approx(30)]
    assert told["meanwhile, without"][0] == 1
    assert told["after"] == [2, pytest.approx(70)]


def test_z_of_the_canary_is_that_of_the_sessions_that_the_learner_tells() -> None:
    def taken(reason: str) -> Taken:
        return Taken(AdapterRollout(since=datetime.now(UTC), reason=reason), asked=1, seconds=1.0)

    canary = taken("of 100 sessions it won 2 and lost 18").canary
    assert (canary.sessions, canary.won, canary.lost) == (100, 2, 18)
    assert canary.z == pytest.approx(-16 / np.sqrt(20 - 256 / 100))
    with pytest.raises(TrieflowError, match="somebody took it back"):
        _ = taken("somebody took it back").canary
