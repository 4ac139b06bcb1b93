"""The salts of users on disk: the first in the topic counts until it is destroyed, however often it is read."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.salts import SaltRecord, Salts
from streams.errors import StateError

ANNA, BERT = "aa" * 32, "bb" * 32
ONE, TWO, THREE = (hashlib.sha256(bytes([n])).hexdigest() for n in range(3))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator:
    made: list[Salts] = []

    def open_(*, cluster: str = "c", max_age_s: float = 60.0) -> Salts:
        for each in made:
            each.close()
        made.clear()
        made.append(Salts(tmp_path / "salts", cluster=cluster, max_age_s=max_age_s))
        return made[0]

    yield open_
    for each in made:
        each.close()


def records(*given: tuple[str, str, str | None]) -> list[SaltRecord]:
    return [SaltRecord(offset, *each) for offset, each in enumerate(given)]


def test_the_first_proposal_counts_until_it_is_destroyed(opened) -> None:
    salts = opened()
    told = records(
        (ANNA, "p", ONE), (ANNA, "q", TWO), (ANNA, "p", None), (ANNA, "r", THREE), (ANNA, "q", None)
    )
    seen = []
    for record in told:
        salts.apply([record])
        seen.append(salts.of(ANNA))
    assert seen == [ONE, ONE, TWO, TWO, THREE]
    assert salts.of(BERT) is None


def test_what_compaction_left_tells_the_same(opened, tmp_path: Path) -> None:
    told = records((ANNA, "p", ONE), (BERT, "p", TWO), (ANNA, "q", TWO), (ANNA, "p", None), (BERT, "s", ONE))
    whole = opened()
    whole.apply(told)
    compacted = Salts(tmp_path / "other", cluster="c", max_age_s=60)
    last = {(record.user, record.proposal): record for record in told}
    compacted.apply(sorted((r for r in last.values() if r.salt is not None), key=lambda r: r.offset))
    assert (
        [compacted.of(user) for user in (ANNA, BERT)]
        == [whole.of(user) for user in (ANNA, BERT)]
        == [TWO, TWO]
    )
    compacted.close()


def test_it_goes_on_where_it_stood_and_takes_nothing_twice(opened) -> None:
    told = records((ANNA, "p", ONE), (ANNA, "q", TWO), (ANNA, "p", None))
    for cut in range(len(told)):
        opened().apply(told[: cut + 1])
    assert opened().next_offset == 3
    opened().apply(told)
    assert opened().of(ANNA) == TWO


@pytest.mark.parametrize("changed", [{"cluster": "other"}, {"max_age_s": -1.0}])
def test_what_may_know_too_much_is_refused(opened, changed) -> None:
    opened().apply(records((ANNA, "p", ONE)))
    with pytest.raises(StateError, match="delete the folder"):
        opened(**changed)


def test_a_destroyed_salt_leaves_no_bytes_behind(opened, tmp_path: Path) -> None:
    salts = opened()
    salts.apply(records((ANNA, "p", ONE), (BERT, "q", TWO)))
    salts.compact()
    assert any(ONE.encode() in text for text in _files(tmp_path))
    salts.apply([SaltRecord(2, ANNA, "p", None)])
    salts.compact()
    assert not any(ONE.encode() in text for text in _files(tmp_path))


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def test_all_orders_of_two_proposals_agree(opened, tmp_path: Path) -> None:
    for n, order in enumerate(itertools.permutations([("p", ONE), ("q", TWO)])):
        salts = Salts(tmp_path / str(n), cluster="c", max_age_s=60)
        salts.apply(records(*((ANNA, *each) for each in order)))
        assert salts.of(ANNA) == order[0][1]
        salts.close()
