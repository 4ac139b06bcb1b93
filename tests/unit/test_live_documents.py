from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from state.live_documents import live_document, stored_documents
from state.shard import Shard
from streams.events.assignments import StampedVector
from tests.log_records import STAMP, assigned, assignment_of, deleted


def test_a_record_and_the_shard_that_took_it_in_give_the_same_document(tmp_path: Path) -> None:
    other = StampedVector.of("other@1/f32", "text", np.zeros(9))
    assignments = {}
    for i, name in enumerate(["a", "b", "c"]):
        plain = assignment_of({0: i, 1: 9 - i}, title=name, fields={"size": [i, 2.5]})
        more = {"published_at": datetime(2026, 1, i + 1, tzinfo=UTC), "tags": [name], "language": "de"}
        assignments[name] = plain.model_copy(update={**more, "vectors": [other, *plain.vectors]})
    with Shard.open(tmp_path / "s") as shard:
        shard.apply([assigned(name, each, offset=i) for i, (name, each) in enumerate(assignments.items())])
        shard.apply([deleted("b", {0: 1, 1: 8}, offset=3)])
        stored = list(stored_documents(shard, stamp=STAMP))
    assert [document.document_id for document in stored] == ["a", "c"]
    for document in stored:
        from_log = live_document(document.document_id, assignments[document.document_id], stamp=STAMP)
        assert document._replace(vectors=()) == from_log._replace(vectors=())
        [(kind, vector)], [(same_kind, same)] = document.vectors, from_log.vectors
        assert kind == same_kind == "fused"
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, same)


def test_the_time_of_arrival_is_passed_on() -> None:
    assert live_document("a", assignment_of({1: 1}), stamp=STAMP, arrived_at=7.5).arrived_at == 7.5
