"""What every dense path promises, tried on the graph and on the exact scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from state.dense import DenseIndex, DensePath, ExactScan

DIMENSION = 33


@pytest.fixture(params=["graph", "exact"])
def path(request: pytest.FixtureRequest) -> DensePath:
    return DenseIndex(DIMENSION, capacity=8) if request.param == "graph" else ExactScan(DIMENSION)


def directions(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def put(path: DensePath, slot: int, *vectors: NDArray[np.float32]) -> None:
    assert path.put(slot, vectors, identity=slot, version=path.version(slot))


def slots(path: DensePath, query: NDArray[np.float32], k: int = 100) -> list[int]:
    return path.search(query, k, expansion=100)[0].tolist()


def test_an_empty_path_finds_nothing(path: DensePath) -> None:
    found, scores = path.search(directions(1)[0], 5, expansion=10)
    assert (found.tolist(), scores.tolist(), len(path)) == ([], [], 0)


def test_each_document_is_found_first_by_its_own_vector(path: DensePath) -> None:
    vectors = directions(60)
    for slot, vector in enumerate(vectors):
        put(path, slot, vector)
    assert [slots(path, vector, 1) for vector in vectors] == [[slot] for slot in range(60)]
    assert len(path) == 60


def test_documents_come_best_first_with_scores_near_the_inner_product(path: DensePath) -> None:
    vectors = directions(50)
    for slot, vector in enumerate(vectors):
        put(path, slot, vector)
    query = directions(1, seed=1)[0]
    found, scores = path.search(query, 50, expansion=100)
    assert sorted(found.tolist()) == list(range(50))
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    np.testing.assert_allclose(scores, (vectors @ query)[found], atol=0.08)


def test_long_vectors_score_more_than_short_ones(path: DensePath) -> None:
    direction = directions(1)[0]
    for slot, length in enumerate((0.5, 3.0, 1.0)):
        put(path, slot, direction * np.float32(length))
    assert slots(path, direction) == [1, 2, 0]


def test_no_more_than_k_are_answered(path: DensePath) -> None:
    for slot, vector in enumerate(directions(30)):
        put(path, slot, vector)
    assert len(slots(path, directions(1)[0], 7)) == 7


def test_a_removed_document_is_not_in_the_next_answer(path: DensePath) -> None:
    vectors = directions(20)
    for slot, vector in enumerate(vectors):
        put(path, slot, vector)
    for slot in range(0, 20, 2):
        path.remove(slot)
        assert slot not in slots(path, vectors[slot])
    assert sorted(slots(path, vectors[0])) == list(range(1, 20, 2))
    assert len(path) == 10


def test_removing_what_is_not_there_changes_nothing(path: DensePath) -> None:
    put(path, 3, directions(1)[0])
    path.remove(1000)
    path.remove(2)
    assert slots(path, directions(1)[0]) == [3]


def test_a_slot_used_again_answers_with_its_new_vector_alone(path: DensePath) -> None:
    old, new, other = directions(3)
    put(path, 0, old)
    put(path, 1, other)
    path.remove(0)
    put(path, 0, new)
    found, scores = path.search(old, 2, expansion=10)
    assert sorted(found.tolist()) == [0, 1]
    assert scores[found.tolist().index(0)] == pytest.approx(float(old @ new), abs=0.08)


def test_a_put_takes_the_place_of_the_one_before(path: DensePath) -> None:
    old, new = directions(2)
    put(path, 5, old)
    put(path, 5, new)
    found, scores = path.search(new, 10, expansion=10)
    assert (found.tolist(), len(path)) == ([5], 1)
    assert scores[0] == pytest.approx(1.0, abs=0.05)


def test_the_best_of_several_vectors_counts_and_the_document_comes_once(path: DensePath) -> None:
    several, single = directions(3), directions(1, seed=4)[0]
    put(path, 0, *several)
    put(path, 1, single)
    for vector in several:
        found, scores = path.search(vector, 5, expansion=10)
        assert sorted(found.tolist()) == [0, 1]
        assert (found[0], scores[0]) == (0, pytest.approx(1.0, abs=0.05))
    path.remove(0)
    assert slots(path, several[1]) == [1]


def test_a_document_without_vectors_is_not_answered(path: DensePath) -> None:
    put(path, 0)
    assert (slots(path, directions(1)[0]), len(path)) == ([], 0)


def test_what_was_read_before_a_removal_is_not_put_after_it(path: DensePath) -> None:
    version = path.version(0)
    path.remove(0)
    assert not path.put(0, [directions(1)[0]], identity=0, version=version)
    assert (slots(path, directions(1)[0]), len(path)) == ([], 0)


@pytest.mark.parametrize("allowed", [range(0, 100, 3), range(95, 100), range(0), range(10)])
def test_only_allowed_slots_are_answered_and_all_of_them_are_found(
    path: DensePath, allowed: Sequence[int]
) -> None:
    for slot, vector in enumerate(directions(100)):
        put(path, slot, vector)
    mask = np.zeros(max(allowed, default=-1) + 1, dtype=np.bool_)
    mask[list(allowed)] = True
    found, _ = path.search(directions(1, seed=2)[0], 100, expansion=100, allowed=mask)
    assert sorted(found.tolist()) == list(allowed)


def test_a_mask_that_allows_nothing_is_not_taken_for_no_mask(path: DensePath) -> None:
    put(path, 0, directions(1)[0])
    nothing = np.zeros(0, dtype=np.bool_)
    assert path.search(directions(1)[0], 5, expansion=5, allowed=nothing)[0].tolist() == []


def test_zeros_are_a_vector_like_others(path: DensePath) -> None:
    put(path, 0, np.zeros(DIMENSION, dtype=np.float32))
    put(path, 1, directions(1)[0])
    found, scores = path.search(directions(1)[0], 5, expansion=5)
    assert (found.tolist(), scores[1]) == ([1, 0], 0.0)


def test_equal_vectors_are_all_found(path: DensePath) -> None:
    for slot in range(90):
        put(path, slot, directions(1)[0])
    assert sorted(slots(path, directions(1)[0])) == list(range(90))


def test_a_vector_of_another_dimension_is_refused(path: DensePath) -> None:
    with pytest.raises(ValueError, match="34"):
        path.put(0, [np.zeros(34, dtype=np.float32)], identity=0, version=path.version(0))
    assert len(path) == 0
