"""What impressions and feedback change: joined in either order, counted once, refused when they do not fit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from state.clicks.ledger import Ledger
from state.clicks.memory import ClickMemory
from state.clicks.rows import HIDDEN, query_key
from state.clicks.shard import ClickShard
from streams.errors import StateError
from streams.events.assignments import StampedVector
from streams.events.click_memory import word_key
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings

STAMP = "hash@1/64"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = NOON.timestamp()
VECTORS = {
    name: StampedVector.of(STAMP, "fused", row)
    for name, row in zip("abcd", np.eye(4, dtype=np.float32), strict=True)
}


def impression(query_id: str, of: str, *shown: str, **more: object) -> Impression:
    """The answer to a query with vector `of`, which showed these."""
    hits = [
        {"document_id": name, "position": place, "score": 1.0, "propensity": 1 / place}
        for place, name in enumerate(shown, start=1)
    ]
    body = {"query_id": query_id, "parts": [], "query_vector": VECTORS[of], "shown": hits, "models": [STAMP]}
    rest = {"epoch": 0, "fresh_to": [], "at": NOON, "session_id": f"session of {query_id}"}
    return Impression.model_validate(body | rest | more)


def feedback(query_id: str, document_id: str, action: str = "click") -> Feedback:
    return Feedback.model_validate({"query_id": query_id, "document_id": document_id, "action": action})


class Learned:
    """A shard that takes each event as a batch of its own, so that every row goes through the disk."""

    def __init__(self, shard: ClickShard) -> None:
        self.shard = shard
        self.outcomes: list[str] = []

    def see(self, *impressions: Impression) -> Learned:
        for each in impressions:
            self._write(lambda ledger, each=each: ledger.shown(each.query_id, each))  # type: ignore[misc]
        return self

    def click(self, query_id: str, document_id: str, action: str = "click", *, at: float = AT) -> str:
        given = feedback(query_id, document_id, action)
        self._write(lambda ledger: ledger.given(query_id, given, at))
        return self.outcomes[-1]

    def of(self, name: str) -> dict[str, tuple[float, float]]:
        """Clicks and expected clicks by document, of a query (its vector's name) or of a word."""
        key = query_key(VECTORS[name]) if name in VECTORS else word_key(name)
        found = dict(self.shard.remembered()).get(key)
        return {} if found is None else {name: (c, round(e, 3)) for name, (c, e) in found.documents.items()}

    def _write(self, act) -> None:
        ledger = self.shard.ledger()
        self.outcomes.append(act(ledger))
        ledger.tidy()
        self.shard.write(ledger, applied={})


@pytest.fixture
def opened(tmp_path: Path) -> Iterator:
    shards = []

    def open_(**settings: object) -> Learned:
        shards.append(ClickShard(tmp_path / "s", LearningSettings(**settings), cluster="c", stamp=STAMP))
        return Learned(shards[-1])

    yield open_
    for shard in shards:
        shard.close()


def test_a_click_counts_and_what_was_shown_beside_it_is_expected(opened) -> None:
    learned = opened().see(impression("q1", "a", "x", "y"))
    assert learned.click("q1", "y") == "counted"
    assert learned.of("a") == {"x": (0, 1.0), "y": (1, 0.5)}


def test_feedback_may_come_before_its_impression(opened) -> None:
    early = opened()
    assert early.click("q1", "y") == "waiting"
    early.see(impression("q1", "a", "x", "y"))
    assert early.of("a") == {"x": (0, 1.0), "y": (1, 0.5)}


def test_nothing_is_expected_of_what_was_shown_before_anybody_clicked(opened) -> None:
    learned = opened().see(*(impression(f"q{n}", "a", "x", at=NOON + timedelta(seconds=n)) for n in range(5)))
    assert learned.of("a") == {}
    learned.click("q3", "x")
    assert learned.of("a") == {"x": (1, 2.0)}
    learned.see(impression("q9", "a", "x", at=NOON + timedelta(seconds=9)), impression("early", "a", "x"))
    assert learned.of("a") == {"x": (1, 3.0)}


def test_the_earliest_click_decides_in_whatever_order_clicks_are_read(opened) -> None:
    learned = opened().see(*(impression(f"q{n}", "a", "x", at=NOON + timedelta(seconds=n)) for n in range(5)))
    learned.click("q3", "x")
    learned.click("q1", "x")
    assert learned.of("a") == {"x": (2, 4.0)}


@pytest.mark.parametrize(
    ("document_id", "later_s", "outcome"),
    [("z", 0, "not_shown"), ("x", 3_601, "late"), ("x", 3_599, "counted")],
)
def test_a_click_that_does_not_fit_its_impression_is_refused(opened, document_id, later_s, outcome) -> None:
    learned = opened().see(impression("q1", "a", "x"))
    assert learned.click("q1", document_id, at=AT + later_s) == outcome
    assert bool(learned.of("a")) == (outcome == "counted")


def test_the_same_click_and_the_same_impression_count_once(opened) -> None:
    learned = opened().see(impression("q1", "a", "x"))
    assert [learned.click("q1", "x") for _ in range(3)] == ["counted", "repeated", "repeated"]
    learned.see(impression("q1", "a", "x", "y"))
    assert learned.outcomes[-1] == "repeated"
    assert learned.of("a") == {"x": (1, 1.0)}


def test_one_person_counts_three_times_for_a_document_however_it_is_asked_for(opened) -> None:
    learned = opened().see(*(impression(f"q{n}", "abcd"[n % 4], "x", user="u") for n in range(6)))
    assert [learned.click(f"q{n}", "x") for n in range(6)] == ["counted"] * 3 + ["capped"] * 3
    learned.see(impression("other", "a", "x", user="v"))
    assert learned.click("other", "x") == "counted"


def test_people_without_a_name_and_a_session_are_one(opened) -> None:
    learned = opened().see(*(impression(f"q{n}", "a", "x", session_id=None) for n in range(4)))
    assert [learned.click(f"q{n}", "x") for n in range(4)] == ["counted"] * 3 + ["capped"]


def test_views_are_noted_and_teach_nothing(opened) -> None:
    learned = opened().see(impression("q1", "a", "x"))
    assert learned.click("q1", "x", "view") == "noted"
    assert learned.of("a") == {}
    assert [learned.click("q1", "x", action) for action in ("save", "click")] == ["counted", "noted"]


def test_who_hides_a_hit_counts_as_several_who_passed_it_over(opened) -> None:
    learned = opened().see(impression("q1", "a", "x", "y", unknown_words=["zib"]))
    assert learned.click("q1", "x", "hide") == "counted"
    assert learned.of("a") == learned.of("zib") == {"x": (0.0, HIDDEN)}
    assert learned.click("q1", "x", "hide") == "repeated"


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("actions", [("click", "hide"), ("hide", "click"), ("save", "hide", "convert")])
def test_who_hides_a_hit_did_not_mean_to_click_it(opened, actions, early: bool) -> None:
    shown = impression("q1", "a", "x", "y", random_pairs=[1])
    learned = opened().see(*([] if early else [shown]))
    for action in actions:
        learned.click("q1", "x", action)
    learned.see(*([shown] if early else []))
    assert learned.of("a")["x"][0] == 0.0
    assert learned.of("a")["x"][1] >= HIDDEN
    assert learned.shard.ledger().state.pairs in ({}, {1: [0.0, 0.0]})
    row = learned.shard.ledger().impression("q1")
    assert (list(row.clicked), list(row.hidden)) == ([], ["x"])


@pytest.mark.parametrize("order", [("before", "click", "hide"), ("click", "hide", "before")])
def test_a_click_that_is_taken_back_is_gone_from_the_query_before_too(opened, order) -> None:
    before = impression("q1", "a", "y", session_id="s")
    learned = opened().see(impression("q2", "b", "x", session_id="s", previous_query_id="q1"))
    for step in order:
        learned.see(before) if step == "before" else learned.click("q2", "x", step)
    assert learned.of("b") == {"x": (0.0, 1.0 + HIDDEN)}
    assert learned.of("a") == {"x": (0.0, 0.5), "y": (0.0, 1.0)}


def test_one_person_hides_a_document_three_times_and_does_not_bury_it_for_others(opened) -> None:
    learned = opened(clicks_per_user=3)
    for number in range(30):
        learned.see(impression(f"q{number}", "a", "x", user=f"person {number}"))
        learned.click(f"q{number}", "x")
    for number in range(6):
        learned.see(impression(f"h{number}", "a", "x", user="anna"))
    hidden = [learned.click(f"h{number}", "x", "hide") for number in range(6)]
    assert hidden == ["counted"] * 3 + ["capped"] * 3
    clicks, expected = learned.of("a")["x"]
    assert (clicks, expected) == (30.0, 36.0 + 3 * HIDDEN)
    memory = ClickMemory(4, stamp=STAMP)
    for key, remembered in learned.shard.remembered():
        memory.take(key, remembered.event())
    assert memory.boosts(VECTORS["a"].array().astype(np.float32))["x"] > 0


def test_a_click_gives_its_place_in_the_cap_to_the_hide_that_takes_it_back(opened) -> None:
    learned = opened(clicks_per_user=1).see(impression("q1", "a", "x", user="anna"))
    assert [learned.click("q1", "x", action) for action in ("click", "hide")] == ["counted", "counted"]
    learned.see(impression("q2", "a", "x", user="anna"))
    assert learned.click("q2", "x") == "capped"


def test_a_word_is_credited_beside_the_query(opened) -> None:
    learned = opened().see(impression("q1", "a", "x", "y", unknown_words=["zib"]))
    learned.click("q1", "x")
    assert learned.of("zib") == {"x": (1, 1.0), "y": (0, 0.5)}


def test_the_query_before_in_the_session_gets_half(opened) -> None:
    learned = opened().see(
        impression("q1", "a", "p", session_id="s", unknown_words=["zib"]),
        impression("q2", "b", "x", "y", session_id="s", previous_query_id="q1"),
    )
    learned.click("q2", "x")
    learned.click("q2", "y")
    assert learned.of("b") == {"x": (1, 1.0), "y": (1, 0.5)}
    assert learned.of("a") == {"p": (0, 1.0), "x": (0.5, 0.5), "y": (0.5, 0.25)}
    assert learned.of("zib") == learned.of("a")


def test_the_query_before_may_come_after_the_clicks_on_the_next(opened) -> None:
    learned = opened().see(impression("q2", "b", "x", "y", session_id="s", previous_query_id="q1"))
    learned.click("q2", "x")
    learned.click("q2", "y")
    learned.see(impression("q1", "a", "p", session_id="s", unknown_words=["zib"]))
    assert learned.of("a") == {"p": (0, 1.0), "x": (0.5, 0.5), "y": (0.5, 0.25)}
    assert learned.of("zib") == learned.of("a")


def test_a_query_of_another_session_gets_nothing(opened) -> None:
    learned = opened().see(
        impression("q1", "a", "p", session_id="s"),
        impression("q2", "b", "x", session_id="t", previous_query_id="q1"),
    )
    learned.click("q2", "x")
    assert learned.of("a") == {"p": (0, 1.0)}


def test_the_oldest_impressions_go_and_their_clicks_free_the_cap(opened) -> None:
    learned = opened(impressions=2).see(impression("q1", "a", "x", user="u"))
    learned.click("q1", "x")
    learned.see(impression("q2", "b", "x", user="u"), impression("q3", "c", "x", user="u"))
    assert learned.click("q1", "x") == "waiting"
    assert [learned.click(f"q{n}", "x") for n in (2, 3)] == ["counted", "counted"]
    learned.see(impression("q4", "d", "x", user="u"))
    assert learned.click("q4", "x") == "counted"


def test_what_was_used_longest_ago_is_forgotten(opened) -> None:
    learned = opened(queries=2, words=1)
    for n, name in enumerate("abc"):
        learned.see(impression(f"q{n}", name, "x", unknown_words=[f"word{name}"]))
        learned.click(f"q{n}", "x")
    assert [bool(learned.of(name)) for name in "abc"] == [False, True, True]
    assert [bool(learned.of(f"word{name}")) for name in "abc"] == [False, False, True]


def test_feedback_that_waits_for_ever_is_given_up(opened) -> None:
    learned = opened()
    learned.click("never", "x", at=AT - 4_000)
    learned.click("soon", "x")
    learned.see(impression("q1", "a", "x"))
    ledger = learned.shard.ledger()
    ledger.expire()
    learned.shard.write(ledger, applied={})
    assert ledger.outcomes == {"expired": 1}
    learned.see(impression("soon", "b", "x"), impression("never", "c", "x"))
    assert (learned.of("b"), learned.of("c")) == ({"x": (1, 1.0)}, {"x": (0, 1.0)})


def test_clicks_on_pairs_that_chance_ordered_teach_what_a_position_does(opened) -> None:
    learned = opened()
    for n in range(60):
        query_id = f"q{n}"
        learned.see(impression(query_id, "a", "x", "y", user=f"u{n}", random_pairs=[1]))
        learned.click(query_id, "y")  # the lower one, always: position cannot matter
    assert learned.shard.state.pairs == {1: [0.0, 60.0]}
    assert learned.shard.state.exponent < 0.5


def test_a_batch_is_seen_by_itself_before_it_is_written(opened) -> None:
    learned = opened()
    ledger: Ledger = learned.shard.ledger()
    ledger.given("q1", feedback("q1", "x"), AT)
    ledger.shown("q1", impression("q1", "a", "x"))
    ledger.given("q1", feedback("q1", "x"), AT)
    assert ledger.outcomes == {"waiting": 1, "counted": 1, "noted": 1, "repeated": 1}
    assert ledger.touched[query_key(VECTORS["a"])].documents == {"x": [1.0, 1.0]}


def test_a_summary_is_told_when_the_memory_has_grown(opened) -> None:
    learned = opened().see(impression("q1", "a", "x"), impression("q2", "b", "x"))
    ledger = learned.shard.ledger()
    told = ledger.summary()
    assert told is not None
    assert (told.queries, told.exponent) == (2, 1.0)
    np.testing.assert_allclose(told.centre.array(), [0.5, 0.5, 0, 0])
    learned.shard.write(ledger, applied={})
    assert learned.shard.ledger().summary() is None


def test_a_shard_of_another_encoder_or_one_that_is_too_old_is_refused(tmp_path: Path) -> None:
    shard = ClickShard(tmp_path / "s", LearningSettings(), cluster="c", stamp=STAMP)
    shard.write(shard.ledger(), applied={})
    shard.close()
    with pytest.raises(StateError, match="too old"):
        ClickShard(tmp_path / "s", LearningSettings(), cluster="c", stamp=STAMP, max_age_s=-1)
    with pytest.raises(StateError, match="another schema"):
        ClickShard(tmp_path / "s", LearningSettings(), cluster="c", stamp="other")


def test_a_ledger_and_its_rows_go_without_a_search_for_garbage(opened) -> None:
    """In a cycle they would stay until Python looks for one, which a learner makes it do seldom."""
    gc.disable()
    try:
        shard = opened().shard
        ledger = shard.ledger()
        ledger.shown("q", impression("q", "a", "x"))
        ledger.given("q", feedback("q", "x"), AT)
        shard.write(ledger, applied={})
        gone = weakref.ref(ledger)
        del ledger
        assert gone() is None
    finally:
        gc.enable()
