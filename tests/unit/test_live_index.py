from __future__ import annotations

import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from pyroaring import BitMap

from state.live_index import LiveDocument, LiveIndex, Removal
from state.vector_rows import Calibration, ScoringPart, ScoringQuery
from streams.semantic_id import Leaf, SemanticId

X, Y = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)


def document(document_id: str, *vectors: tuple[str, np.ndarray], **more: object) -> LiveDocument:
    return LiveDocument(document_id, more.pop("ids", {}), vectors, "text", **more)


def found(
    index: LiveIndex, *parts: ScoringPart, k: int = 10, slots: np.ndarray | None = None
) -> list[tuple[str, float]]:
    query = ScoringQuery(parts).arrays(index.dimension)
    slots, _ = index.score(query, slots)
    exact = query.weights @ index.parts(query, slots)
    return [(hit.document_id, pytest.approx(hit.score, abs=1e-4)) for hit in index.top(slots, exact, k)]


def leaves(index: LiveIndex) -> list[int]:
    path = index.active_path()
    return [] if path is None else path.sizes()[0].tolist()


def test_a_document_is_found_when_apply_returns_and_not_after_its_removal() -> None:
    index = LiveIndex(2)
    index.apply([document("a", ("text", X))])
    assert found(index, ScoringPart(X)) == [("a", 1.0)]
    index.apply([Removal("a"), Removal("never there")])
    assert found(index, ScoringPart(X)) == []
    assert "a" not in index
    assert (len(index), index.rows) == (0, 0)


def test_the_best_row_of_a_document_counts_for_each_part_and_negative_weights_take_away() -> None:
    index = LiveIndex(2)
    index.apply([document("both", ("image", X), ("text", Y)), document("one", ("image", X))])
    assert found(index, ScoringPart(X), ScoringPart(Y)) == [("both", 2.0), ("one", 1.0)]
    assert found(index, ScoringPart(X), ScoringPart(Y, weight=-1.0)) == [("one", 1.0), ("both", 0.0)]


def test_the_fused_row_counts_only_for_documents_without_another() -> None:
    index = LiveIndex(2)
    index.apply(
        [document("other", ("fused", X), ("image", Y)), document("alone", ("fused", X / 2), ("raw", X))]
    )
    assert found(index, ScoringPart(X)) == [("alone", 0.5), ("other", 0.0)]
    assert index.rows == 2


def test_kinds_are_calibrated_so_that_texts_do_not_outrank_pictures() -> None:
    index = LiveIndex(2)
    index.apply([document("text", ("text", X * 0.5)), document("picture", ("image", X * 0.25))])
    calibration = {"text": Calibration(0.5, 0.125), "image": Calibration(0.125, 0.0625)}
    assert found(index, ScoringPart(X, calibration=calibration)) == [("picture", 2.0), ("text", 0.0)]


def test_equal_scores_come_in_order_of_document_ids() -> None:
    index = LiveIndex(2)
    index.apply([document(name, ("text", X)) for name in "dbeac"])
    assert [name for name, _ in found(index, ScoringPart(X), k=3)] == ["a", "b", "c"]


def test_a_change_replaces_vectors_fields_and_leaf() -> None:
    index = LiveIndex(2)
    index.activate(1)
    old, new = SemanticId(3, 17, 402, 8), SemanticId(3, 2, 0, 0)
    index.apply([document("a", ("text", X), ("passage", X), ids={1: old.packed()}, tags=["x"])])
    index.apply([document("a", ("text", Y), ids={1: new.packed()})])
    assert found(index, ScoringPart(X)) == [("a", 0.0)]
    assert leaves(index) == [Leaf(3, 2, 0).packed()]
    assert index.field("tags") is None
    assert index.rows == 1


def test_only_the_slots_that_are_named_are_scored() -> None:
    index = LiveIndex(2)
    index.apply([document(name, ("text", X)) for name in "abcd"])
    assert [name for name, _ in found(index, ScoringPart(X), slots=np.array([1, 2]))] == ["b", "c"]
    assert found(index, ScoringPart(X), slots=np.array([3, 9_999])) == [("d", 1.0)]
    assert index.mask(BitMap([1, 3])).tolist() == [False, True, False, True]


def test_a_vector_of_another_dimension_is_refused_and_changes_nothing() -> None:
    index = LiveIndex(2)
    index.apply([document("a", ("text", X))])
    for name in ("a", "b"):
        with pytest.raises(ValueError, match=r"holds \(2,\)"):
            index.apply([document(name, ("text", np.zeros(3, dtype=np.float32)))])
    assert found(index, ScoringPart(X)) == [("a", 1.0)]
    with pytest.raises(ValueError, match="has not 2 numbers"):
        found(index, ScoringPart(np.zeros(3, dtype=np.float32)))
    index.apply([document("b", ("text", X))])
    assert len(index) == 2


def test_arrays_grow_and_keep_what_they_hold() -> None:
    index = LiveIndex(2)
    for start in range(0, 3_000, 500):
        index.apply([document(f"{i:04}", ("text", X * i)) for i in range(start, start + 500)])
    assert [name for name, _ in found(index, ScoringPart(X), k=3)] == ["2999", "2998", "2997"]
    assert found(index, ScoringPart(-X), k=1) == [("0000", 0.0)]


def test_a_document_without_vectors_is_known_but_never_scored() -> None:
    index = LiveIndex(2)
    index.apply([document("a")])
    assert "a" in index
    assert found(index, ScoringPart(X)) == []


def test_epochs_are_kept_side_by_side_and_switched_at_once() -> None:
    index = LiveIndex(2)
    assert leaves(index) == []
    ids = {1: SemanticId(1, 0, 0, 0).packed(), 2: SemanticId(2, 0, 0, 0).packed()}
    index.apply([document("a", ("text", X), ids=ids)])
    index.activate(2)
    assert leaves(index) == [Leaf(2, 0, 0).packed()]
    index.activate(1)
    index.forget_epoch(2)
    index.apply([document("b", ("text", X), ids=ids), Removal("a")])
    assert leaves(index) == [Leaf(1, 0, 0).packed()]
    assert index.ids("b") == {1: ids[1]}
    index.activate(2)
    assert leaves(index) == []


def test_documents_below_a_prefix_of_the_active_epoch() -> None:
    index = LiveIndex(2)
    index.activate(1)
    for number, path in enumerate([(3, 17, 402, 0), (3, 17, 402, 1), (3, 2, 0, 0), (4, 0, 0, 0)]):
        index.apply([document(str(number), ("text", X), ids={1: SemanticId(*path).packed()})])

    def below(*prefix: int) -> set[str | None]:
        return {index.document_id(slot) for slot in index.below(prefix)}

    assert below(3) == {"0", "1", "2"}
    assert below(3, 17, 402) == {"0", "1"}
    assert below(3, 17, 402, 1) == {"1"}
    assert below(9) == set()


def test_the_newest_times_are_known() -> None:
    index = LiveIndex(2)
    assert (index.newest_arrival, index.newest_published) == (None, None)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    index.apply([document("a", published_at=at, arrived_at=5.0), document("b", arrived_at=4.0)])
    index.apply([document("c", published_at=datetime(2025, 1, 1))])
    assert (index.newest_arrival, index.newest_published) == (5.0, at.timestamp())


def test_a_slot_is_not_used_again_while_a_query_may_hold_it() -> None:
    index = LiveIndex(2)
    index.apply([document("a", ("text", X)), document("b", ("text", Y))])
    with index.reading():
        slots, _ = index.score(ScoringQuery([ScoringPart(X)]).arrays(2))
        index.apply([Removal("a"), document("c", ("text", X))])
        assert [index.document_id(slot) for slot in slots.tolist()] == [None, "b"]
    index.apply([document("d", ("text", X))])
    assert index.slot_of("d") == 0


def test_readers_beside_a_writer_see_each_document_before_or_after_its_change() -> None:
    index, done, seen = LiveIndex(2), threading.Event(), set()
    names = [f"d{i}" for i in range(50)]
    index.apply([document(name, ("text", X)) for name in names])
    query = ScoringQuery([ScoringPart(X)]).arrays(2)

    def read() -> None:
        while not done.is_set():
            with index.reading():
                slots, scores = index.score(query)
                seen.add(len(slots))
                seen.update(np.round(scores, 4).tolist())

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(200):
        index.apply([document(name, ("text", X if step % 2 else Y)) for name in names])
    done.set()
    reader.join()
    assert seen == {50, 0.0, 1.0}
