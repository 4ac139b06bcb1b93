"""What a searcher makes of the memory: similar queries, unknown words, shrunk rates; against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from state.clicks.memory import ClickMemory, MemoryWeights
from streams.events.assignments import StampedVector
from streams.events.click_memory import SUMMARY_KEY, MemorySummary, RememberedClicks

STAMP = "hash@1/64"
DIMENSION = 16
W = MemoryWeights()


def remembered(
    vector: np.ndarray | None, queries: int = 1, **documents: tuple[float, float]
) -> RememberedClicks:
    stamped = None if vector is None else StampedVector.of(STAMP, "fused", vector)
    return RememberedClicks(vector=stamped, queries=queries, documents=documents)


def summary(queries: int, centre: np.ndarray | None = None) -> MemorySummary:
    middle = np.zeros(DIMENSION, dtype=np.float32) if centre is None else centre
    vector = StampedVector.of(STAMP, "fused", middle)
    return MemorySummary(queries=queries, centre=vector, examination=[1.0], exponent=1.0)


def axis(number: int) -> np.ndarray:
    return np.eye(DIMENSION, dtype=np.float32)[number]


def between(cosine: float) -> np.ndarray:
    """A vector at this cosine from the first axis."""
    return np.float32(cosine) * axis(0) + np.float32(np.sqrt(1 - cosine**2)) * axis(1)


@pytest.fixture
def memory() -> ClickMemory:
    return ClickMemory(DIMENSION, stamp=STAMP)


def test_what_was_clicked_for_the_same_query_gains_and_what_was_passed_over_loses(
    memory: ClickMemory,
) -> None:
    memory.take("query/1", remembered(axis(0), good=(4, 5), bad=(0, 5)))
    boosts = memory.boosts(axis(0))
    assert boosts["good"] == pytest.approx(0.4 * ((4 + 3 * 0.08) / (5 + 3) - 0.08), abs=1e-3)
    assert boosts["bad"] == pytest.approx(0.4 * (3 * 0.08 / 8 - 0.08), abs=1e-3)


@pytest.mark.parametrize("cosine", [0.5, 0.61, 0.8, 0.95])
def test_a_similar_query_counts_by_the_square_of_how_similar_it_is(
    memory: ClickMemory, cosine: float
) -> None:
    memory.take("query/1", remembered(axis(0), good=(4, 5)))
    share = max(0.0, (cosine - 0.6) / 0.4) ** 2
    expected = 0.4 * ((share * 4 + 0.24) / (share * 5 + 3) - 0.08) if share else 0.0
    assert memory.boosts(between(cosine)).get("good", 0.0) == pytest.approx(expected, abs=3e-3)


def test_queries_are_compared_by_their_difference_from_the_mean(memory: ClickMemory) -> None:
    memory.take("query/1", remembered(axis(0) + 3 * axis(2), good=(4, 5)))
    asked = axis(1) + 3 * axis(2)
    assert memory.boosts(asked)
    memory.take(SUMMARY_KEY, summary(1, 3 * axis(2)))
    assert not memory.boosts(asked)
    assert memory.boosts(axis(0) + 3 * axis(2))


def test_only_the_nearest_queries_count(memory: ClickMemory) -> None:
    random = np.random.default_rng(3)
    rows = (axis(0) + 0.2 * random.normal(size=(40, DIMENSION))).astype(np.float32)
    for n, row in enumerate(rows):
        memory.take(f"query/{n}", remembered(row, **{f"d{n}": (1, 1)}))
    held = np.float32(np.float16(rows))
    cosines = held @ axis(0) / np.linalg.norm(held, axis=1)
    nearest = {f"d{n}" for n in np.argsort(-cosines)[: W.neighbours]}
    assert memory.boosts(axis(0)).keys() == nearest


def test_an_unknown_word_says_most_and_a_common_one_nothing(memory: ClickMemory) -> None:
    memory.take(SUMMARY_KEY, summary(2_000))
    memory.take("word/zib", remembered(None, queries=10, good=(4, 5)))
    memory.take("word/picture", remembered(None, queries=11, other=(4, 5)))
    boosts = memory.boosts(axis(0), ["zib", "picture", "never", "zib"])
    assert boosts == {"good": pytest.approx((4 + 0.08) / (5 + 1) - 0.08)}


def test_a_new_state_of_a_key_counts_in_place_of_the_old_and_none_forgets_it(memory: ClickMemory) -> None:
    memory.take("query/1", remembered(axis(0), good=(1, 1)))
    memory.take("query/1", remembered(axis(0), better=(1, 1)))
    assert memory.boosts(axis(0)).keys() == {"better"}
    memory.take("query/1", None)
    memory.take("query/never", None)
    assert (memory.boosts(axis(0)), len(memory)) == ({}, 0)
    memory.take("query/2", remembered(axis(1), new=(1, 1)))
    assert memory.boosts(axis(1)).keys() == {"new"}
    assert not memory.boosts(axis(0))


def test_queries_of_another_encoder_are_left_out(memory: ClickMemory) -> None:
    foreign = StampedVector.of("other@1", "fused", axis(0))
    memory.take("query/1", RememberedClicks(vector=foreign, documents={"good": (4, 5)}))
    assert len(memory) == 0
    assert not memory.boosts(axis(0))


def test_a_query_that_is_the_mean_itself_finds_nothing(memory: ClickMemory) -> None:
    memory.take("query/1", remembered(axis(0), good=(4, 5)))
    memory.take(SUMMARY_KEY, summary(1, axis(0)))
    assert not memory.boosts(axis(0))


def test_totals_of_documents_are_sums_over_the_queries_that_are_remembered(memory: ClickMemory) -> None:
    chance = np.random.default_rng(4)
    known: dict[str, dict[str, tuple[float, float]]] = {}
    for _ in range(300):
        key = f"query/{chance.integers(12)}"
        documents = {f"d{n}": tuple(chance.random(2).tolist()) for n in chance.integers(6, size=3)}
        if chance.random() < 0.3:
            known.pop(key, None)
            memory.take(key, None)
        else:
            known[key] = documents
            memory.take(key, remembered(axis(int(chance.integers(DIMENSION))), **documents))
        memory.take("word/zib", remembered(None, **documents))
    names = [*(f"d{n}" for n in range(6)), "never", None]
    clicks, expected = memory.totals(names)
    for place, name in enumerate(names):
        of_name = [documents.get(name or "", (0.0, 0.0)) for documents in known.values()]
        assert clicks[place] == pytest.approx(sum(each[0] for each in of_name), abs=1e-6)
        assert expected[place] == pytest.approx(sum(each[1] for each in of_name), abs=1e-6)
