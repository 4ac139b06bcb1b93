from __future__ import annotations

import warnings

import numpy as np
import pytest

from state.combining import HAS_IT, alternatives, combined


def score(parts: list[float], roles: list[str], weights: list[float] | None = None) -> float:
    columns = np.array(parts, dtype=np.float32)[:, None]
    found = combined(columns, np.array(weights or [1.0] * len(parts), dtype=np.float32), roles)
    assert (found.dtype, found.shape) == (np.float32, (1,))
    return float(found[0])


@pytest.mark.parametrize("role", ["and", "or"])
def test_one_part_alone_scores_its_weight_times_its_score(role: str) -> None:
    assert score([2.5], [role], [0.5]) == pytest.approx(1.25)
    assert score([-4.0], [role]) == pytest.approx(-4.0)


def test_parts_that_are_met_alike_add_up() -> None:
    assert score([2, 2, 2], ["and"] * 3, [1, 0.5, 2]) == pytest.approx(7.0)


def test_missing_one_part_costs_more_than_the_other_can_bring() -> None:
    even, missing, far = (score(parts, ["and", "and"]) for parts in ([2, 2], [4, 0], [6, -2]))
    assert even == pytest.approx(4)
    assert even > missing > far
    assert even - missing < missing - far  # the further apart, the dearer


def test_a_negative_weight_pushes_away_in_proportion_as_it_always_did() -> None:
    assert score([2, 3], ["and", "and"], [1, -0.5]) == pytest.approx(0.5)
    assert score([2, -3], ["and", "and"], [1, -0.5]) == pytest.approx(3.5)


def test_any_one_of_several_is_enough() -> None:
    one, both, none = (score(parts, ["or", "or"]) for parts in ([4, 0], [4, 4], [1, 1]))
    assert both >= one > none
    assert both - one < 0.5
    assert score([0, 4], ["or", "or"], [1, 0.5]) < score([3, 0], ["or", "or"], [1, 0.5])


def test_not_takes_away_only_from_what_clearly_has_it() -> None:
    nothing, a_little, clearly, more = (score([2, y], ["and", "not"]) for y in (-9, HAS_IT - 1, 4, 5))
    assert nothing == pytest.approx(2, abs=1e-3)
    assert a_little == pytest.approx(2, abs=0.02)
    assert clearly == pytest.approx(0, abs=0.02)
    assert more == pytest.approx(-2, abs=0.02)
    assert score([2, 4], ["and", "not"], [1, 0.5]) == pytest.approx(1, abs=0.02)


def test_roles_are_joined_by_adding() -> None:
    whole = score([2, 1, 4, 5, 1], ["and", "and", "or", "not", "and"], [1, 1, 1, 1, -1])
    of_each = [score([2, 1], ["and", "and"]), score([4], ["or"]), score([0, 5], ["or", "not"]), -1]
    assert whole == pytest.approx(sum(of_each), abs=1e-5)


def test_many_documents_are_scored_as_each_alone_and_one_that_is_gone_has_no_score() -> None:
    roles = ["and", "or", "or", "not", "and"]
    weights = [1.0, 0.5, 2.0, 1.0, -0.5]
    parts = np.random.default_rng(4).normal(1, 3, (5, 40)).astype(np.float32)
    parts[:, 7] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = combined(parts, np.array(weights, dtype=np.float32), roles)
    alone = [score(column.tolist(), roles, weights) for column in parts.T]
    np.testing.assert_allclose(found, alone, rtol=1e-5)
    assert np.isnan(found).nonzero()[0].tolist() == [7]
    assert len(combined(parts[:, :0], np.array(weights, dtype=np.float32), roles)) == 0


def test_extreme_scores_overflow_nowhere() -> None:
    assert np.isfinite(score([1e4, -1e4, 1e4, 1e4], ["and", "and", "or", "not"], [100, 100, 100, 100]))


def test_candidates_are_looked_for_once_for_each_part_of_an_or_and_never_away_from_a_not() -> None:
    weights = np.array([1, 0.5, 2, 1, -0.5], dtype=np.float32)
    rows = alternatives(weights, ["and", "or", "or", "not", "and"])
    assert rows.tolist() == [[1, 0.5, 0, 0, -0.5], [1, 0, 2, 0, -0.5]]
    assert alternatives(weights, ["and"] * 5).tolist() == [weights.tolist()]
