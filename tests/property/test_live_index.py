"""The live index against a dictionary and a sum in plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.live_index import LiveDocument, LiveIndex, Removal
from state.vector_rows import JOINT_KINDS, Calibration, ScoringPart, ScoringQuery
from streams.semantic_id import Leaf, SemanticId

DIMENSION = 5
keys = st.sampled_from([f"d{i}" for i in range(12)])
# Small whole numbers over a power of two: sums are exact, so ties are ties in every order of adding.
vectors = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).map(
    lambda numbers: np.array(numbers, dtype=np.float32)
)
kinds = st.sampled_from([*JOINT_KINDS, "raw"])
ids = st.dictionaries(
    st.sampled_from([1, 2]),
    st.builds(SemanticId, st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.integers(0, 9)).map(
        SemanticId.packed
    ),
    max_size=2,
)
documents = st.builds(
    LiveDocument,
    document_id=keys,
    ids=ids,
    vectors=st.lists(st.tuples(kinds, vectors), max_size=4),
    modality=st.just("text"),
)
changes = st.lists(st.one_of(documents, documents, st.builds(Removal, keys)), max_size=40)
calibrations = st.builds(Calibration, st.integers(-2, 2).map(float), st.sampled_from([0.5, 1.0, 2.0]))
parts = st.builds(
    ScoringPart,
    vector=vectors,
    weight=st.sampled_from([1.0, 0.5, -1.0, -2.0]),
    calibration=st.dictionaries(st.sampled_from(JOINT_KINDS), calibrations),
)


def naive_score(parts: list[ScoringPart], document: LiveDocument) -> float | None:
    joint = [(kind, vector) for kind, vector in document.vectors if kind != "raw"]
    scored = [(kind, vector) for kind, vector in joint if kind != "fused"] or joint
    if not scored:
        return None
    total = 0.0
    for part in parts:
        by_kind = [(part.calibration.get(kind, Calibration()), vector) for kind, vector in scored]
        total += part.weight * max((float(part.vector @ v) - c.mean) / c.spread for c, v in by_kind)
    return total


@settings(max_examples=150, deadline=None)
@given(
    changes=changes,
    parts=st.lists(parts, min_size=1, max_size=3),
    k=st.integers(1, 15),
    among=st.one_of(st.none(), st.sets(st.integers(0, 14))),
)
def test_scores_are_those_of_the_plain_sum(
    changes: list[LiveDocument | Removal], parts: list[ScoringPart], k: int, among: set[int] | None
) -> None:
    index, twin = LiveIndex(DIMENSION), {}
    index.apply(changes)
    for change in changes:
        twin.pop(change.document_id, None)
        if isinstance(change, LiveDocument):
            twin[change.document_id] = change
    slot_of = {index.document_id(slot): slot for slot in index.every()}
    assert set(slot_of) == set(twin)
    assert len(index) == len(twin)

    query = ScoringQuery(parts).arrays(DIMENSION)
    slots, coarse = index.score(query, None if among is None else np.array(sorted(among), dtype=np.int64))
    exact = query.weights @ index.parts(query, slots)
    expected = {}
    for key, document in twin.items():
        score = naive_score(parts, document)
        if score is not None and (among is None or slot_of[key] in among):
            expected[key] = score
    found = {hit.document_id: hit.score for hit in index.top(slots, exact, 20)}
    assert set(found) == set(expected)
    size = 1 + sum(abs(part.weight) * np.abs(part.vector).sum() for part in parts)
    for key, score in expected.items():
        assert abs(found[key] - score) <= 2e-3 * size
    np.testing.assert_allclose(coarse, exact, atol=0.1 * size)
    best = index.top(slots, exact, k)
    assert [(-hit.score, hit.document_id) for hit in best] == sorted((-s, key) for key, s in found.items())[
        :k
    ]


@settings(deadline=None)
@given(changes=changes)
def test_each_epoch_has_its_own_leaves_and_rows_are_used_again(changes: list[LiveDocument | Removal]) -> None:
    index, twin, most = LiveIndex(DIMENSION), {}, 0
    for change in changes:
        index.apply([change])
        twin.pop(change.document_id, None)
        if isinstance(change, LiveDocument):
            twin[change.document_id] = change
        most = max(most, len(twin))
        kept = 0
        for document in twin.values():
            joint = [kind for kind, _ in document.vectors if kind != "raw"]
            kept += len([kind for kind in joint if kind != "fused"] or joint)
        assert index.rows == kept
    assert max(index.every(), default=-1) <= most, "a freed slot is taken before a new one"
    for epoch in (1, 2):
        index.activate(epoch)
        expected: dict[int, set[str]] = {}
        for document in twin.values():
            if epoch in document.ids:
                expected.setdefault(document.ids[epoch] >> 16, set()).add(document.document_id)
        path = index.path(epoch)
        assert path.sizes()[0].tolist() == sorted(expected)
        for leaf, members in expected.items():
            assert {index.document_id(slot) for slot in index.below(Leaf.unpacked(leaf))} == members
