"""Team draft by hand; tests/property/test_gates.py has what holds for all lists."""

from __future__ import annotations

import random

import pytest

from models.gates.interleaving import chance_of, session_score, team_draft


class First(random.Random):
    """Lets one side begin each round."""

    def __init__(self, *, incumbent: bool) -> None:
        super().__init__()
        self._bit = int(incumbent)

    def getrandbits(self, k: int) -> int:
        return self._bit


def test_both_bring_their_best_in_turns():
    shown, teams = team_draft(list("abcd"), list("bxay"), First(incumbent=True), length=4)
    assert shown == ["a", "b", "c", "x"]
    assert teams == ["incumbent", "candidate", "incumbent", "candidate"]
    shown, teams = team_draft(list("abcd"), list("bxay"), First(incumbent=False), length=4)
    assert shown == ["b", "a", "x", "c"]
    assert teams == ["candidate", "incumbent", "candidate", "incumbent"]


def test_what_comes_after_the_end_of_one_list_is_in_no_team():
    shown, teams = team_draft(["a"], list("bcd"), First(incumbent=True))
    assert shown == ["a", "b", "c", "d"]
    assert teams == ["incumbent", "candidate", None, None]


def test_nothing_to_show():
    assert team_draft([], [], chance_of("q")) == ([], [])


def test_the_query_id_alone_decides():
    lists = list("abcdefghij"), list("jihgfedcba")
    drafts = {query_id: team_draft(*lists, chance_of(query_id)) for query_id in map(str, range(50))}
    assert all(team_draft(*lists, chance_of(query_id)) == draft for query_id, draft in drafts.items())
    assert len({tuple(shown) for shown, _ in drafts.values()}) > 10


def test_the_draft_of_a_query_is_the_same_in_every_version():
    shown, _ = team_draft(list("abcdef"), list("fedcba"), chance_of("query-1"), length=6)
    assert shown == ["a", "f", "e", "b", "d", "c"]


@pytest.mark.parametrize(
    ("clicked", "score"),
    [
        ([], 0),
        ([None], 0),
        (["candidate"], 1),
        (["incumbent", "incumbent", "candidate"], -1),
        (["candidate", "incumbent"], 0),
    ],
)
def test_a_session_is_won_by_whose_documents_were_clicked_more(clicked, score):
    assert session_score(clicked) == score
