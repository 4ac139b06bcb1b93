"""Chance between neighbours: light, repeatable, for whole sessions; and what clicks on such lists tell."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from agents.exploring import explores, shuffled
from state.clicks.examination import examination, fit_exponent
from streams.events.queries import Hit


def hits(count: int) -> list[Hit]:
    return [Hit(document_id=f"d{n}", score=-float(n), position=n) for n in range(1, count + 1)]


def test_a_document_moves_by_one_place_at_most_and_nothing_is_lost() -> None:
    for n in range(50):
        moved, _ = shuffled(hits(10), f"q{n}")
        assert [hit.position for hit in moved] == list(range(1, 11))
        assert {hit.document_id for hit in moved} == {f"d{place}" for place in range(1, 11)}
        assert all(abs(hit.position + hit.score) <= 1 for hit in moved)


def test_every_pair_of_neighbours_is_compared_in_either_order() -> None:
    seen: Counter[tuple[int, str]] = Counter()
    for n in range(400):
        moved, pairs = shuffled(hits(5), f"q{n}")
        for upper in pairs:
            seen[upper, moved[upper - 1].document_id] += 1
    assert set(seen) == {(upper, f"d{upper + below}") for upper in range(1, 5) for below in (0, 1)}
    assert min(seen.values()) > 60


def test_the_same_query_gets_the_same_list() -> None:
    assert shuffled(hits(10), "q") == shuffled(hits(10), "q")
    assert shuffled(hits(0), "q") == ([], [])
    assert shuffled(hits(1), "q") == (hits(1), [])


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_share_of_the_sessions_explores(share: float) -> None:
    count = sum(explores(f"session-{n}", share) for n in range(2_000))
    assert count / 2_000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_the_exponent_is_found_from_clicks_of_people_who_look_by_it(exponent: float) -> None:
    random = np.random.default_rng(5)
    looked_at, clicks = examination(10, exponent), defaultdict(lambda: [0.0, 0.0])
    for n in range(12_000):
        good = random.permutation([0.8, 0.3, 0.3, *[0.05] * 7])
        moved, pairs = shuffled(hits(10), f"q{n}")
        clicked = random.random(10) < looked_at * [good[int(-hit.score) - 1] for hit in moved]
        for upper in pairs:
            clicks[upper][0] += clicked[upper - 1]
            clicks[upper][1] += clicked[upper]
    assert fit_exponent(clicks) == pytest.approx(exponent, abs=0.25)


def test_without_clicks_the_exponent_is_one_and_few_move_it_little() -> None:
    assert fit_exponent({}) == 1.0
    assert abs(fit_exponent({1: [0.0, 3.0]}) - 1.0) < 0.3
