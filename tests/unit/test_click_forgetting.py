"""What the learner forgets of people and documents, in whatever order the logs are read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from state.clicks.forgetting import Forgotten
from state.clicks.ledger_rows import ColumnName
from state.clicks.rows import query_key
from state.clicks.shard import ClickShard
from streams.events.click_memory import word_key
from streams.events.forgetting import ForgetRequest
from streams.settings import LearningSettings
from tests.unit.test_click_ledger import AT, NOON, STAMP, VECTORS, Learned, feedback, impression

UNTIL = AT + 10_000


class Forgetful(Learned):
    """A shard that is asked to forget."""

    def __init__(self, shard: ClickShard) -> None:
        super().__init__(shard)
        self.told: dict[str, bool] = {}

    def forget(self, *people: str, document_id: str | None = None, at: float = 60.0) -> Forgotten:
        body = {"request_id": "r", "people": people, "document_id": document_id}
        ledger = self.shard.ledger()
        done = ledger.forget(ForgetRequest.model_validate(body), at=AT + at, until=UNTIL)
        self.told = {key: known is not None for key, known in ledger.touched.items()}
        assert ledger.summary() is not None, "the mean of what is remembered is told anew"
        self.shard.write(ledger, applied={})
        return done

    def rows(self) -> str:
        """All keys and values on the disk but the time of the last write, as one text."""
        items = [item for name in get_args(ColumnName) for item in self.shard._columns.items(name)]
        return "\n".join(f"{key!r} {value!r}" for key, value in items if key != b"written_at")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator:
    shards = []

    def open_(name: str = "s", **settings: object) -> Forgetful:
        shards.append(ClickShard(tmp_path / name, LearningSettings(**settings), cluster="c", stamp=STAMP))
        return Forgetful(shards[-1])

    yield open_
    for shard in shards:
        shard.close()


def of_two_people(learned: Forgetful) -> Forgetful:
    learned.see(impression("q0", "a", "x", "y", user="bert"))
    learned.click("q0", "x")
    learned.see(
        impression("q1", "a", "x", "y", user="anna", unknown_words=["zib"]),
        impression("q2", "b", "y", "z", user="anna", session_id="s", unknown_words=["zab"]),
        impression("q3", "c", "z", "y", user="anna", session_id="s", previous_query_id="q2"),
    )
    learned.click("q1", "y")
    learned.click("q3", "z")
    return learned


def test_what_a_person_added_is_taken_back_and_that_of_others_stays(opened) -> None:
    learned = of_two_people(opened())
    assert learned.forget("anna") == Forgotten(impressions=3, clicks=2, changed=1, removed=3)
    assert learned.of("a") == {"x": (1, 1.0), "y": (0, 0.5)}
    assert [learned.of(name) for name in ("b", "c", "zab")] == [{}, {}, {}]
    assert "anna" not in learned.rows()
    assert not any(query_id in learned.rows() for query_id in ("q1", "q2", "q3"))


def test_what_nobody_else_asked_is_told_as_forgotten(opened) -> None:
    learned = of_two_people(opened())
    learned.forget("anna")
    keys = {name: query_key(VECTORS[name]) for name in "abc"} | {"zab": word_key("zab")}
    assert {name: learned.told[key] for name, key in keys.items()} == {
        "a": True,
        "b": False,
        "c": False,
        "zab": False,
    }
    assert (learned.shard.state.queries, learned.shard.state.words) == (1, 0)


def test_the_last_one_who_is_forgotten_leaves_nothing_behind(opened) -> None:
    learned = of_two_people(opened())
    learned.forget("anna")
    assert learned.forget("bert").removed == 1
    assert dict(learned.shard.remembered()) == {}
    summary = learned.shard.ledger()
    summary.tell_summary_again()
    told = summary.summary()
    assert told is not None
    assert (told.queries, told.centre.array().any()) == (0, False)


def test_forgetting_again_finds_nothing_and_changes_nothing(opened) -> None:
    learned = of_two_people(opened())
    learned.forget("anna")
    before = learned.rows()
    assert learned.forget("anna") == Forgotten()
    assert learned.rows() == before


@pytest.mark.parametrize("early", [False, True])
def test_an_impression_that_is_read_after_the_request_brings_nothing_back(opened, early: bool) -> None:
    learned = opened().see(impression("q0", "a", "x", user="bert"))
    learned.click("q0", "x")
    learned.forget("anna")
    if early:
        assert learned.click("q1", "y") == "waiting"
    learned.see(impression("q1", "b", "x", "y", user="anna"))
    assert learned.outcomes[-1] == "forgotten"
    assert learned.of("b") == {}
    assert "'y'" not in learned.rows()
    assert learned.click("q1", "y") == "forgotten"
    learned.see(impression("q2", "b", "x", session_id="s", previous_query_id="q1", user="bert"))
    learned.click("q2", "x")
    assert "q1'" not in learned.rows()


def test_a_click_that_waits_for_the_query_before_is_let_go(opened) -> None:
    learned = opened().see(
        impression("q2", "b", "x", session_id="s", previous_query_id="q1", user="anna"),
        impression("q3", "b", "x", session_id="t", previous_query_id="q1", user="bert"),
    )
    learned.click("q2", "x")
    learned.click("q3", "x")
    learned.forget("anna")
    assert "q2" not in learned.rows()
    learned.see(impression("q1", "a", "x", session_id="t", user="bert"))
    assert learned.of("a") == {"x": (0.5, 1.5)}


def test_what_could_come_back_is_remembered_by_a_digest_until_the_logs_have_expired(opened) -> None:
    learned = opened()
    learned.forget("anna")
    assert "anna" not in learned.rows()
    assert learned.shard.state.forgotten == 1
    learned.see(impression("late", "a", "x", user="bert", at=NOON + timedelta(seconds=20_000)))
    ledger = learned.shard.ledger()
    ledger.expire()
    learned.shard.write(ledger, applied={})
    assert learned.shard.state.forgotten == 0
    learned.see(impression("q1", "a", "x", user="anna"))
    assert learned.outcomes[-1] == "noted"


def test_other_examination_since_then_takes_back_what_was_added_then(opened) -> None:
    learned = opened().see(impression("q0", "a", "x", "y", user="anna"))
    learned.click("q0", "x")
    for n in range(60):
        learned.see(impression(f"p{n}", "b", "x", "y", user=f"u{n}", random_pairs=[1]))
        learned.click(f"p{n}", "y")
    assert learned.shard.state.exponent < 0.5
    assert learned.forget("anna").removed == 1
    learned.forget("u0")
    assert learned.shard.state.pairs == {1: [0.0, 59.0]}


def test_a_key_that_was_given_up_and_came_again_loses_nothing_of_others(opened) -> None:
    learned = opened(queries=1).see(impression("q0", "a", "x", user="anna"))
    learned.click("q0", "x")
    for n, name in enumerate("bcd"):
        learned.see(impression(f"r{n}", name, "x", user="bert"))
    assert learned.of("a") == {}
    learned.see(impression("q1", "a", "x", user="carl"))
    learned.click("q1", "x")
    learned.forget("anna")
    assert learned.of("a") == {"x": (1, 1.0)}


def test_a_document_goes_from_lists_and_memory_and_its_place_stays(opened) -> None:
    learned = of_two_people(opened())
    learned.click("never", "y")
    assert learned.forget(document_id="y") == Forgotten(impressions=4, clicks=1, changed=4, removed=0)
    assert learned.of("a") == {"x": (1, 2.0)}
    assert learned.of("b") == {"z": (0.5, 1.0)}
    assert "'y'" not in learned.rows()
    assert '"y"' not in learned.rows()
    assert learned.click("q1", "y") == "not_shown"
    assert learned.click("q1", "x") == "counted"


def test_an_old_list_does_not_bring_a_document_back_and_a_new_one_may_show_it(opened) -> None:
    learned = opened().see(impression("q0", "a", "x"))
    learned.click("q0", "x")
    learned.forget(document_id="y", at=60)
    learned.see(impression("q1", "b", "x", "y", at=NOON + timedelta(seconds=59)))
    assert learned.of("b") == {"x": (0, 1.0)}
    learned.see(impression("q2", "c", "x", "y", at=NOON + timedelta(seconds=61)))
    assert learned.of("c") == {"x": (0, 1.0), "y": (0, 0.5)}


def test_a_batch_forgets_what_it_has_just_taken_in(opened) -> None:
    learned = opened()
    ledger = learned.shard.ledger()
    ledger.shown("q1", impression("q1", "a", "x", user="anna"))
    ledger.given("q1", feedback("q1", "x"), AT)
    request = ForgetRequest.model_validate({"request_id": "r", "people": ["anna"]})
    assert ledger.forget(request, at=AT, until=UNTIL) == Forgotten(
        impressions=1, clicks=1, changed=0, removed=1
    )
    learned.shard.write(ledger, applied={})
    assert "q1" not in learned.rows()
    assert dict(learned.shard.remembered()) == {}


def test_what_a_person_hid_is_shown_to_others_as_before(opened) -> None:
    learned = opened().see(impression("q0", "a", "x", "y", user="bert"))
    learned.click("q0", "x")
    before = learned.of("a")
    learned.see(impression("q1", "a", "x", "y", user="anna"))
    assert learned.click("q1", "x", "hide") == "counted"
    learned.forget("anna")
    assert learned.of("a") == before
    learned.see(impression("q2", "a", "x", user="bert"))
    assert learned.click("q2", "x", "hide") == "counted"
    learned.forget(document_id="x")
    assert '"x"' not in learned.rows()
