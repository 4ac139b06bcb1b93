"""People of the learning benchmark who spam, and people who change what they want; without Kafka."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.learning.exact_system import ExactSystem
from benchmarks.learning.people import Habits, People
from benchmarks.learning.shift import shifted
from benchmarks.learning.spam import Spam, habits, lures, spammed_thing, unrelated_queries
from benchmarks.learning.stage import encoded
from benchmarks.learning.world import RELATED, WANTED, World, make_world
from models.encoders.registry import load_encoder

SEED = 3


@pytest.fixture(scope="module")
def encode():
    encoder = load_encoder("hash", threads=1)
    return lambda texts: encoded(encoder, texts)


@pytest.fixture(scope="module")
def world(encode) -> World:
    return make_world(SEED, encode, count=500, lessons=4)


class Reports(ExactSystem):
    """Notes who asked what, and takes reports of clicks on what was never shown."""

    def __init__(self, world: World, thing: int) -> None:
        texts = dict.fromkeys(each.text for each in [*world.asked, *lures(world, thing)])
        rows = {text: row for row, text in enumerate(texts)}
        scores = np.random.default_rng(1).random((len(rows), len(world.vectors))).astype(np.float32)
        for each in lures(world, thing):
            scores[rows[each.text], thing] = 2.0
        super().__init__(scores, rows, 0.0)
        self.reported: list[tuple[str, str]] = []
        self.users: set[str | None] = set()

    def search(self, query, *, user_id, **options):
        self.users.add(user_id)
        return super().search(query, user_id=user_id or "", **options)

    def click(self, query_id, document_id):
        self.reported.append((query_id, document_id))


@pytest.mark.parametrize(("accounts", "users"), [(1, 1), (5, 5), (0, 1)])
def test_spammers_report_their_thing_for_every_list_and_lure_it_in(world, accounts, users):
    thing = spammed_thing(world, SEED)
    system = Reports(world, thing)
    given = habits(world, Spam(accounts, lures=True), thing)
    people = People(system, world, seed=SEED, habits=Habits(**(vars(given) | {"spam": 1.0})))  # type: ignore[arg-type]
    people.go_on(lambda tally: tally.sessions >= 40)
    assert {document for _, document in system.reported} == {f"thing-{thing}"}
    assert len(system.reported) == people.tally.queries == 2 * people.tally.sessions
    assert people.tally.forged + people.tally.lured == people.tally.queries
    assert people.tally.lured >= people.tally.sessions  # each lure shows it
    assert len(system.users) == users
    assert (None in system.users) == (accounts == 0)
    followed = [answer for answer in system.answers.values() if answer.previous is not None]
    assert len(followed) == people.tally.sessions


def test_queries_that_have_nothing_to_do_with_the_thing_are_no_lures(world):
    thing = spammed_thing(world, SEED)
    assert thing not in world.taught
    texts = {each.text for each in unrelated_queries(world, thing)}
    assert texts
    assert not any(world.query(text).wanted[thing] for text in texts)


def test_a_shift_changes_the_wanted_member_of_every_preference_and_nothing_else(world, encode):
    after = shifted(world, SEED, encode)
    assert [each.text for each in after.asked] == [each.text for each in world.asked]
    moved = 0
    for old, new in zip(world.asked, after.asked, strict=True):
        if not old.kind.startswith("preferences"):
            assert new is old
            continue
        moved += 1
        assert np.flatnonzero(new.wanted).tolist() == np.flatnonzero(old.wanted).tolist()
        assert int(np.argmax(new.wanted)) != int(np.argmax(old.wanted))
        assert sorted(set(new.wanted[new.wanted > 0].tolist())) == pytest.approx([RELATED, WANTED])
    assert moved
    for lesson in {each.lesson for each in after.asked if each.kind.startswith("preferences")}:
        assert len({int(np.argmax(each.wanted)) for each in after.asked if each.lesson == lesson}) == 1
