from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pyroaring import BitMap

from state.branches import branches_of
from state.live_index import LiveDocument, LiveIndex, Removal
from streams.semantic_id import SemanticId

CODES = [(3, 17, 402)] * 2 + [(3, 17, 9), (3, 2, 0), (0, 0, 0)] + [(15, 255, 4095)] * 3


def filled(codes: list[tuple[int, int, int]]) -> LiveIndex:
    index = LiveIndex(2)
    index.activate(1)
    index.apply(
        LiveDocument(
            f"d{i}",
            {1: SemanticId(*code, i).packed()},
            [("text", np.array([1, i], dtype=np.float32))],
            "text",
        )
        for i, code in enumerate(codes)
    )
    return index


def shown(index: LiveIndex, prefix: tuple[int, ...] = (), **more: object) -> list[tuple[str, int, int]]:
    limits = {"depth": 1, "most": 1_000, "typical": 0} | more
    found = branches_of(index, prefix, **limits)
    return [(".".join(map(str, each.prefix)), each.documents, each.children) for each in found]


def test_the_branches_of_the_root_are_categories() -> None:
    assert shown(filled(CODES)) == [("0", 1, 1), ("3", 4, 2), ("15", 3, 1)]


def test_a_branch_is_followed_by_those_below_it() -> None:
    assert shown(filled(CODES), (3,), depth=2) == [
        ("3", 4, 2),
        ("3.2", 1, 1),
        ("3.2.0", 1, 0),
        ("3.17", 3, 2),
        ("3.17.9", 1, 0),
        ("3.17.402", 2, 0),
    ]
    assert len(shown(filled(CODES), depth=3)) == 3 + 4 + 5
    assert shown(filled(CODES), (3, 17), depth=3) == [("3.17", 3, 2), ("3.17.9", 1, 0), ("3.17.402", 2, 0)]
    assert shown(filled(CODES), (3, 17, 402)) == [("3.17.402", 2, 0)]
    assert shown(filled(CODES), (7,)) == []


def test_of_many_branches_those_with_most_documents_are_kept_and_those_above_them() -> None:
    assert shown(filled(CODES), depth=3, most=3) == [("3", 4, 2), ("3.17", 3, 2), ("15", 3, 1)]


def test_only_live_documents_of_the_active_epoch_that_are_allowed_count() -> None:
    index = filled(CODES)
    index.apply([Removal("d4"), Removal("d0")])
    assert shown(index) == [("3", 3, 2), ("15", 3, 1)]
    slots = [index.slot_of(name) for name in ("d1", "d7")]
    assert shown(index, allowed=BitMap(slots)) == [("3", 1, 1), ("15", 1, 1)]
    index.activate(2)
    assert shown(index) == []
    assert shown(LiveIndex(2)) == []


def test_typical_documents_are_the_nearest_to_the_middle_of_their_branch() -> None:
    index = filled([(1, 0, 0)] * 9 + [(2, 0, 0)])
    [first, second] = branches_of(index, (), depth=1, most=9, typical=3)
    assert [index.document_id(slot) for slot in first.typical] == ["d4", "d3", "d5"]
    assert [index.document_id(slot) for slot in second.typical] == ["d9"]


@pytest.mark.parametrize("seed", range(3))
def test_counts_agree_with_counting_one_by_one(seed: int) -> None:
    source = np.random.default_rng(seed)
    codes = [tuple(int(source.integers(size)) for size in (4, 5, 6)) for _ in range(600)]
    found = {each.prefix: each for each in branches_of(filled(codes), (), depth=3, most=1_000, typical=2)}
    counted = Counter(code[:length] for code in codes for length in (1, 2, 3))
    assert {prefix: each.documents for prefix, each in found.items()} == dict(counted)
    for prefix, each in found.items():
        below = [
            other for other in counted if len(other) == len(prefix) + 1 and other[: len(prefix)] == prefix
        ]
        assert each.children == len(below)
        assert len(each.typical) == min(2, each.documents)
    assert list(found) == sorted(found)
