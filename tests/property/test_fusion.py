"""Fusion against a plain sum over dictionaries, and what must hold whatever the scores are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from state.fusion import MEASURES, PATHS, FusionWeights, MeasureWeight, Path, RankedList, fuse

scores = st.floats(-4, 12, width=32)
tables = st.dictionaries(
    st.sampled_from(PATHS), st.dictionaries(st.integers(0, 12), scores, max_size=8), max_size=len(PATHS)
)
measure_weights = st.builds(
    MeasureWeight,
    weight=st.floats(0, 50),
    power=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    missing=st.sampled_from(["last", "nothing"]),
    trusted=st.sampled_from([None, 1, 2, 5]),
)
weights = st.builds(
    FusionWeights,
    method=st.sampled_from(["weighted", "reciprocal_rank"]),
    vector=measure_weights,
    lexical=measure_weights,
    rank_constant=st.sampled_from([1.0, 60.0]),
)


def ranked(path: Path, table: dict[int, float]) -> RankedList:
    order = sorted(table, key=lambda slot: (-table[slot], slot))
    return RankedList(
        path, np.array(order, dtype=np.int64), np.array([table[s] for s in order], dtype=np.float32)
    )


def lists_of(tables: dict[Path, dict[int, float]]) -> list[RankedList]:
    return [ranked(path, table) for path, table in tables.items()]


def naive(tables: dict[Path, dict[int, float]], weights: FusionWeights) -> dict[int, float]:
    totals = dict.fromkeys({slot for table in tables.values() for slot in table}, 0.0)
    for measure in set(MEASURES.values()):
        best: dict[int, float] = {}
        for path, table in tables.items():
            if MEASURES[path] == measure:
                for slot, score in table.items():
                    best[slot] = max(score, best.get(slot, -np.inf))
        if not best:
            continue
        weight = weights.of(measure)
        floor = min(best.values()) if weight.missing == "last" else 0.0
        for slot in totals:
            if weights.method == "reciprocal_rank":
                if slot in best:
                    rank = 1 + sum(other > best[slot] for other in best.values())
                    totals[slot] += 1 / (weights.rank_constant + rank)
            else:
                score = best.get(slot, floor)
                ordered = sorted(best.values(), reverse=True)
                if weight.trusted is not None and len(ordered) > weight.trusted:
                    least = ordered[weight.trusted - 1]
                    score = score if score >= least else least - (least - score) / 10
                totals[slot] += weight.weight * np.sign(score) * abs(score) ** weight.power
    return totals


@given(tables=tables, weights=weights, k=st.integers(0, 15))
def test_the_best_are_those_of_the_plain_sum(
    tables: dict[Path, dict[int, float]], weights: FusionWeights, k: int
) -> None:
    fused, totals = fuse(lists_of(tables), weights, k), naive(tables, weights)
    assert len(fused.slots) == min(k, len(totals))
    assert fused.scores.tolist() == pytest.approx(
        sorted(totals.values(), reverse=True)[:k], rel=1e-9, abs=1e-9
    )
    assert fused.scores.tolist() == pytest.approx(
        [totals[s] for s in fused.slots.tolist()], rel=1e-9, abs=1e-9
    )


@given(tables=tables, weights=weights)
def test_parts_sum_to_the_score(tables: dict[Path, dict[int, float]], weights: FusionWeights) -> None:
    fused = fuse(lists_of(tables), weights, 100)
    for row, score in enumerate(fused.scores.tolist()):
        assert sum(float(part[row]) for part in fused.parts.values()) == score
    assert list(fused.parts) == [path for path in PATHS if tables.get(path)]


@given(tables=tables, weights=weights, seed=st.randoms())
def test_the_order_of_the_lists_changes_nothing(
    tables: dict[Path, dict[int, float]], weights: FusionWeights, seed
) -> None:
    lists = lists_of(tables)
    shuffled = seed.sample(lists, len(lists))
    one, other = fuse(lists, weights, 100), fuse(shuffled, weights, 100)
    assert one.slots.tolist() == other.slots.tolist()
    assert one.scores.tolist() == other.scores.tolist()


@given(tables=tables, weights=weights, raised=st.floats(0, 5, width=32), data=st.data())
def test_a_document_that_scores_higher_on_a_path_never_falls(
    tables: dict[Path, dict[int, float]], weights: FusionWeights, raised: float, data
) -> None:
    places = [(path, slot) for path, table in tables.items() for slot in table]
    assume(places)
    path, slot = data.draw(st.sampled_from(places))
    before = fuse(lists_of(tables), weights, 100)
    higher = {name: dict(table) for name, table in tables.items()}
    higher[path][slot] = float(np.float32(higher[path][slot] + raised))
    after = fuse(lists_of(higher), weights, 100)

    def beaten(fused) -> set[int]:
        own = fused.scores[fused.slots.tolist().index(slot)]
        return set(fused.slots[fused.scores < own - 1e-9].tolist())

    assert beaten(before) <= beaten(after) | {
        other for other in before.slots.tolist() if _equal(after, slot, other)
    }


def _equal(fused, one: int, other: int) -> bool:
    slots = fused.slots.tolist()
    return bool(abs(fused.scores[slots.index(one)] - fused.scores[slots.index(other)]) <= 1e-6)


@given(tables=tables, weights=weights)
def test_a_path_that_found_nothing_changes_nothing(
    tables: dict[Path, dict[int, float]], weights: FusionWeights
) -> None:
    missing = [path for path in PATHS if path not in tables]
    one = fuse(lists_of(tables), weights, 100)
    other = fuse(lists_of({**tables, **{path: {} for path in missing}}), weights, 100)
    assert one.slots.tolist() == other.slots.tolist()
    assert one.scores.tolist() == other.scores.tolist()


@given(weights=weights)
def test_weights_survive_json(weights: FusionWeights) -> None:
    assert FusionWeights.model_validate_json(weights.model_dump_json()) == weights
