"""What each user chose lately: in the learner's rows, and on the disk of a searcher."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.clicks.profiles import Chosen, profile_event
from state.clicks.shard import ClickShard
from state.profiles import ProfileRecord, Profiles
from streams.events.forgetting import ForgetRequest
from streams.events.profiles import Profile
from streams.settings import LearningSettings, PersonalSettings
from tests.unit.test_click_forgetting import Forgetful
from tests.unit.test_click_ledger import AT, NOON, STAMP, feedback, impression
from tests.unit.test_salts import _files

DAY = 86_400


class Choosing(Forgetful):
    """A shard that keeps profiles."""

    def of_person(self, person: str) -> list[str]:
        return [each.document_id for each in dict(self.shard.profiles()).get(person, [])]

    def chooses(self, person: str, *documents: str, at: float = 0.0, action: str = "click") -> Choosing:
        """Ask once for each document, and choose it, seconds after noon and one after the other."""
        for number, name in enumerate(documents):
            query_id = f"{person}/{name}/{at + number}"
            moment = NOON.timestamp() + at + number
            self.see(impression(query_id, "a", name, user=person, at=moment))
            self.click(query_id, name, action, at=moment)
        return self


@pytest.fixture
def opened(tmp_path: Path) -> Iterator:
    shards = []

    def open_(name: str = "s", **personal: object) -> Choosing:
        settings = PersonalSettings.model_validate(personal)
        path = tmp_path / name
        shards.append(ClickShard(path, LearningSettings(), cluster="c", stamp=STAMP, personal=settings))
        return Choosing(shards[-1])

    yield open_
    for shard in shards:
        shard.close()


def test_who_hides_what_was_clicked_did_not_choose_it(opened) -> None:
    learned = opened().chooses("anna", "v", "w")
    assert learned.click("anna/w/1.0", "w", "hide", at=NOON.timestamp() + 9) == "counted"
    assert learned.of_person("anna") == ["v"]


def test_the_latest_choices_stay_each_once_the_latest_first(opened) -> None:
    learned = opened(documents=3).chooses("anna", "v", "w", "x", "y", "w")
    assert learned.of_person("anna") == ["w", "y", "x"]
    assert learned.of_person("bert") == []


def test_all_orders_of_the_same_choices_come_to_the_same(opened) -> None:
    choices = [("x", 0.0), ("y", 5.0), ("x", 9.0), ("z", 7.0)]
    found = set()
    for number, order in enumerate(itertools.permutations(choices)):
        learned = opened(f"s{number}", documents=2)
        for name, at in order:
            learned.chooses("anna", name, at=at)
        found.add(tuple(learned.of_person("anna")))
    assert found == {("x", "z")}


@pytest.mark.parametrize(
    ("action", "kept"), [("save", ["x"]), ("convert", ["x"]), ("view", []), ("hide", [])]
)
def test_only_what_counts_as_a_click_is_a_choice(opened, action: str, kept: list[str]) -> None:
    assert opened().chooses("anna", "x", action=action).of_person("anna") == kept


def test_what_was_not_shown_and_a_session_without_a_user_leave_no_profile(opened) -> None:
    learned = opened().see(impression("q1", "a", "x", user="anna"), impression("q2", "a", "x"))
    assert (learned.click("q1", "other"), learned.click("q2", "x")) == ("not_shown", "counted")
    assert dict(learned.shard.profiles()) == {}


def test_none_is_kept_where_the_settings_say_so(opened) -> None:
    learned = opened(documents=0).chooses("anna", "x")
    assert dict(learned.shard.profiles()) == {}


def test_what_a_batch_tells_is_told_again_when_it_was_not_written(opened) -> None:
    learned = opened().chooses("anna", "x")
    learned.see(impression("q", "a", "y", user="anna"))
    told = []
    for _ in range(2):  # killed between Kafka and the disk, then the same again
        ledger = learned.shard.ledger()
        ledger.given("q", feedback("q", "y"), AT + 50)
        told.append(dict(ledger.profiles.touched))
    assert told[0] == told[1]
    assert [each.document_id for each in told[0]["anna"]] == ["y", "x"]
    learned.shard.write(ledger, applied={})
    assert learned.of_person("anna") == ["y", "x"]


def test_a_forgotten_user_is_told_even_where_nothing_was_kept(opened) -> None:
    learned = opened().chooses("anna", "x", "y").chooses("bert", "x")
    for person in ("anna", "nobody-here"):
        ledger = learned.shard.ledger()
        ledger.forget(request(people=[person]), at=AT + 60, until=AT + 10_000)
        assert dict(ledger.profiles.touched) == {person: []}
        learned.shard.write(ledger, applied={})
    assert (learned.of_person("anna"), learned.of_person("bert")) == ([], ["x"])
    assert "anna" not in learned.rows()
    learned.chooses("anna", "z", at=30.0)
    assert learned.of_person("anna") == [], "what comes late of them is refused"


def test_a_forgotten_document_leaves_all_profiles_those_of_the_batch_too(opened) -> None:
    learned = opened().chooses("anna", "x", "y").chooses("bert", "x")
    learned.see(impression("q", "a", "x", user="carl"))
    ledger = learned.shard.ledger()
    ledger.given("q", feedback("q", "x"), AT + 1)
    ledger.forget(request(document_id="x"), at=AT + 60, until=AT + 10_000)
    learned.shard.write(ledger, applied={})
    assert {person: learned.of_person(person) for person in ("anna", "bert", "carl")} == {
        "anna": ["y"],
        "bert": [],
        "carl": [],
    }
    assert "'x'" not in learned.rows()
    assert '"x"' not in learned.rows()


def test_who_chooses_nothing_for_long_is_dropped_when_others_come_and_told(opened) -> None:
    learned = opened(days=2).chooses("anna", "x").chooses("bert", "y", at=1.5 * DAY)
    learned.chooses("bert", "z", at=2.1 * DAY)
    assert learned.of_person("anna") == ["x"], "whole days count"
    learned.see(impression("q", "a", "z", at=NOON.timestamp() + 3.1 * DAY))
    assert (learned.of_person("anna"), learned.of_person("bert")) == ([], ["z", "y"])


def request(**body: object) -> ForgetRequest:
    return ForgetRequest.model_validate({"request_id": "r"} | body)


# -- on a searcher's disk ------------------------------------------------------------------------------------


def profile(offset: int, person: str, *documents: tuple[str, float]) -> ProfileRecord:
    return ProfileRecord(offset, person, list(documents) or None)


@pytest.fixture
def searcher(tmp_path: Path) -> Iterator:
    made: list[Profiles] = []

    def open_() -> Profiles:
        for each in made:
            each.close()
        made[:] = [Profiles(tmp_path / "profiles", cluster="c", max_age_s=60)]
        return made[0]

    yield open_
    for each in made:
        each.close()


def test_the_newest_record_of_a_user_counts_and_an_old_one_does_not(searcher) -> None:
    profiles = searcher()
    profiles.apply([profile(0, "anna", ("x", 5.0)), profile(1, "bert", ("z", 1.0))])
    profiles.apply([profile(2, "anna", ("y", 9.0), ("x", 5.0))])
    assert profiles.of("anna", since=0.0) == ["y", "x"]
    assert profiles.of("anna", since=9.5) == []
    assert profiles.of("nobody", since=0.0) == []
    assert searcher().of("bert", since=0.0) == ["z"]
    assert searcher().next_offset == 3


def test_one_who_was_killed_before_it_rewrote_its_files_does_it_when_it_is_back(
    searcher, tmp_path: Path
) -> None:
    profiles = searcher()
    profiles.apply([profile(0, "anna-hash", ("a-secret", 5.0)), profile(1, "bert", ("y", 5.0))])
    profiles.compact()
    profiles.apply([profile(2, "anna-hash")])
    again = searcher()
    assert again.owes_compaction
    assert again.of("anna-hash", since=0.0) == []
    again.compact()
    assert not searcher().owes_compaction
    assert not any(b"anna-hash" in text or b"a-secret" in text for text in _files(tmp_path))


def test_what_the_learner_tells_is_what_a_searcher_reads() -> None:
    told = profile_event([Chosen("x", AT + 0.25), Chosen("y", AT)])
    read = Profile.model_validate_json(told.to_json())
    assert [(each.document_id, each.at.timestamp()) for each in read.documents] == [
        ("x", AT + 0.25),
        ("y", AT),
    ]
