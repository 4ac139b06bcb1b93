"""A live index that was written to disk and read again, against the one that it was written from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.filters import parse_filter
from state.live_index import Change, LiveDocument, LiveIndex, Removal
from state.live_snapshot import LiveNote, read_live, read_note, write_live
from state.vector_rows import ScoringPart, ScoringQuery
from streams.semantic_id import INSTANCE_BITS, Leaf, SemanticId

DIMENSION, EPOCH = 5, 1
LEAVES = np.array([Leaf(0, 0, cluster).packed() for cluster in range(4)])
FILTERS: list[dict[str, Any]] = [
    {"n": {"gte": 1}},
    {"n": 2**53 + 1},
    {"n": {"gte": 2**79}},
    {"word": {"prefix": "a"}},
    {"flag": True},
    {"tags": {"in": ["x", "é"]}},
]
keys = st.sampled_from([f"d{i}" for i in range(9)] + ["é", "\udcff"])
vectors = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).map(
    lambda numbers: np.array(numbers, dtype=np.float32)
)
values = st.one_of(
    st.integers(-2, 2),
    st.floats(-2, 2),
    st.sampled_from([2**53 + 1, 2**80, "a", "é", ""]),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
)
documents = st.builds(
    LiveDocument,
    document_id=keys,
    ids=st.integers(0, 3).flatmap(
        lambda cluster: st.integers(0, 9).map(lambda i: {EPOCH: SemanticId(0, 0, cluster, i).packed()})
    ),
    vectors=st.lists(st.tuples(st.sampled_from(["image", "text", "passage"]), vectors), max_size=3),
    modality=st.sampled_from(["text", "image"]),
    tags=st.lists(st.sampled_from(["x", "é"]), max_size=2, unique=True),
    fields=st.dictionaries(st.sampled_from(["n", "word", "flag"]), values, max_size=3),
    arrived_at=st.one_of(st.none(), st.floats(0, 10)),
)
changes = st.lists(st.one_of(documents, documents, st.builds(Removal, keys)), max_size=30)


def note() -> LiveNote:
    return LiveNote(stamp="s", cluster="c", dimension=DIMENSION, saved_at=1.0, positions={3: 7})


def index_with_tree(scale: float = 1.0) -> LiveIndex:
    index = LiveIndex(DIMENSION)
    index.activate(EPOCH)
    centroids = np.eye(4, DIMENSION, dtype=np.float32)
    centroids[0] *= scale
    index.set_tree(EPOCH, LEAVES, centroids)
    return index


def assert_alike(one: LiveIndex, other: LiveIndex) -> None:
    assert sorted(one.items()) == sorted(other.items())
    assert (one.rows, len(one), one.newest_arrival) == (other.rows, len(other), other.newest_arrival)
    for slot, document_id in one.items():
        assert one.ids(document_id) == other.ids(document_id)
        np.testing.assert_array_equal(one.vectors(slot), other.vectors(slot))
    slots = np.array([slot for slot, _ in one.items()], dtype=np.int64)
    np.testing.assert_array_equal(one.path(EPOCH).leaves_of(slots), other.path(EPOCH).leaves_of(slots))
    for raw in FILTERS:
        assert one.passing(parse_filter(raw)) == other.passing(parse_filter(raw)), raw
    query = ScoringQuery([ScoringPart(np.ones(DIMENSION, dtype=np.float32))]).arrays(DIMENSION)
    found = [
        index.path(EPOCH).search(
            index.rows_arrays, query, query.vectors[0, :DIMENSION], leaves=4, members=99, shortlist=20
        )
        for index in (one, other)
    ]
    np.testing.assert_array_equal(found[0].slots, found[1].slots)
    np.testing.assert_array_equal(found[0].scores, found[1].scores)


@settings(max_examples=60, deadline=None)
@given(before=changes, after=changes)
def test_an_index_read_from_disk_is_the_one_that_was_written(
    before: list[Change], after: list[Change]
) -> None:
    index = index_with_tree()
    index.apply(before)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made" / "index.npz"
        write_live(path, index, note(), more={"x": np.arange(3)})
        read = index_with_tree()
        assert read_note(path) == note()
        assert read_live(path, read)["x"].tolist() == [0, 1, 2]
    assert_alike(index, read)
    index.apply(after)
    read.apply(after)
    # Slots may differ by now: those that wait for readers are free at once after a start.
    assert {key for _, key in index.items()} == {key for _, key in read.items()}
    for slot, key in index.items():
        other = read.slot_of(key)
        assert other is not None
        assert index.ids(key) == read.ids(key)
        np.testing.assert_array_equal(index.vectors(slot), read.vectors(other))
        assert index.path(EPOCH).leaf_of(slot) == read.path(EPOCH).leaf_of(other)
        assert index.path(EPOCH).second_leaf_of(slot) == read.path(EPOCH).second_leaf_of(other)


@settings(max_examples=60, deadline=None)
@given(before=changes, meanwhile=changes, after=changes)
def test_what_changes_while_it_is_written_is_right_when_it_is_applied_again(
    before: list[Change], meanwhile: list[Change], after: list[Change]
) -> None:
    index, read = index_with_tree(), index_with_tree()
    index.apply(before)
    arrays = index.dump()
    index.apply(meanwhile)
    read.restore(arrays, list(index.blocks()))
    read.apply(meanwhile)
    for each in (index, read):
        each.apply(after)
    assert {key for _, key in index.items()} == {key for _, key in read.items()}
    assert index.rows == read.rows
    for slot, key in index.items():
        other = read.slot_of(key)
        assert other is not None
        assert index.ids(key) == read.ids(key)
        np.testing.assert_array_equal(index.vectors(slot), read.vectors(other))


@settings(max_examples=30, deadline=None)
@given(before=changes)
def test_leaves_that_changed_since_are_looked_at_again(before: list[Change]) -> None:
    index, read = index_with_tree(), index_with_tree(scale=-3.0)
    index.apply(before)
    read.restore(index.dump(), index.blocks())
    while read.repair(100):
        pass
    moved = index_with_tree(scale=-3.0)
    moved.apply(
        [
            LiveDocument(
                key, index.ids(key) or {}, [("text", vector) for vector in index.vectors(slot)], "text"
            )
            for slot, key in index.items()
        ]
    )
    for slot, key in read.items():
        ids = read.ids(key)
        assert ids is not None
        assert read.path(EPOCH).leaf_of(slot) == ids[EPOCH] >> INSTANCE_BITS
        other = moved.slot_of(key)
        assert other is not None
        assert read.path(EPOCH).second_leaf_of(slot) == moved.path(EPOCH).second_leaf_of(other)
