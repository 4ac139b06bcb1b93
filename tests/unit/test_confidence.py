"""Which queries are told apart by the margins of those before them."""

from __future__ import annotations

import numpy as np
import pytest

from agents.confidence import FEWEST, Confidence


def told(confidence: Confidence, margins: np.ndarray) -> list[bool]:
    return [confidence.is_low(float(margin), kind="text") for margin in margins]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_about_the_share_of_queries_is_told_whatever_margins_are_large(share: float):
    random = np.random.default_rng(0)
    for scale in (0.01, 100.0):
        confidence = Confidence(share)
        told(confidence, random.normal(size=500) * scale)
        assert np.mean(told(confidence, random.normal(size=2_000) * scale)) == pytest.approx(share, abs=0.04)


def test_nothing_is_told_before_there_is_enough_to_compare_with():
    falling = -np.arange(FEWEST - 1, dtype=float)
    assert not any(told(Confidence(0.5), falling))


def test_a_share_of_zero_tells_nothing():
    assert not any(told(Confidence(0.0), np.random.default_rng(0).normal(size=500)))


def test_kinds_of_queries_are_compared_with_their_own():
    confidence = Confidence(0.25)
    for margin in np.random.default_rng(0).normal(size=200):
        confidence.is_low(float(margin), kind="text")
        confidence.is_low(float(margin) + 1_000, kind="image")
    assert confidence.is_low(900.0, kind="image")
    assert not confidence.is_low(900.0, kind="text")


def test_queries_that_opened_all_leaves_have_endless_margins_and_disturb_no_others():
    confidence = Confidence(0.25)
    told(confidence, np.array([np.inf, 1.0] * 200))
    assert confidence.is_low(0.5, kind="text")
    assert not confidence.is_low(np.inf, kind="text")


def test_a_query_that_got_more_is_not_counted_twice():
    confidence = Confidence(0.5)
    told(confidence, np.arange(200, dtype=float))
    before = confidence.is_still_low(50.0, kind="text")
    for _ in range(500):
        confidence.is_still_low(-1_000.0, kind="text")
    assert before
    assert confidence.is_still_low(50.0, kind="text")
