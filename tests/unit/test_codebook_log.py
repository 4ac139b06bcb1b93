from __future__ import annotations

import numpy as np
import pytest

from agents.codebook_log import leaf_change, leaf_state
from models.codebooks import LeafChange
from streams.events.codebooks import epoch_key, leaf_key, parse_key, part_key
from streams.semantic_id import Leaf


@pytest.mark.parametrize("centroid", [np.array([0.5, -1.25], dtype=np.float32), None])
def test_a_change_of_a_leaf_goes_through_its_event_unchanged(centroid: np.ndarray | None) -> None:
    change = LeafChange(Leaf(3, 17, 402).packed(), centroid, born_from=Leaf(3, 17, 5).packed())
    state = leaf_state(change, size=12)
    assert (state.parent, state.size_at, state.born_from) == ("3.17", 12, "3.17.5")
    again = leaf_change(change.leaf, type(state).model_validate_json(state.to_json()))
    assert (again.leaf, again.born_from) == (change.leaf, change.born_from)
    assert again.centroid is None if centroid is None else again.centroid.tolist() == centroid.tolist()


def test_keys_of_the_topic_are_read_as_they_are_written() -> None:
    leaf = Leaf(3, 17, 402).packed()
    assert parse_key(epoch_key(7).encode()) == (7, None, None)
    assert parse_key(leaf_key(7, leaf).encode()) == (7, leaf, None)
    assert parse_key(part_key(7, 12).encode()) == (7, None, 12)
    assert parse_key(b"active") == (None, None, None)
    assert [parse_key(key.encode()).is_tree for key in (epoch_key(7), part_key(7, 0), "active")] == [
        True,
        False,
        False,
    ]
