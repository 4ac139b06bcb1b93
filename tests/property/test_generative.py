"""The generative path against a dictionary of documents, and readers beside its writer."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.generative import GenerativePath
from state.readers import Readers
from state.vector_rows import ScoringPart, ScoringQuery, VectorRows
from streams.semantic_id import Leaf

DIMENSION = 4
SLOTS, CLUSTERS = 20, 6
leaf_numbers = st.integers(0, CLUSTERS - 1)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, SLOTS - 1), leaf_numbers),
        st.tuples(st.just("put"), st.integers(0, SLOTS - 1), leaf_numbers),
        st.tuples(st.just("remove"), st.integers(0, SLOTS - 1), st.none()),
        st.tuples(st.sampled_from(["tree", "close"]), st.none(), leaf_numbers),
        st.tuples(st.just("repair"), st.none(), st.none()),
    ),
    max_size=50,
)


def packed(number: int) -> int:
    return Leaf(number % 2, number % 3, number).packed()


@settings(deadline=None, max_examples=80)
@given(
    actions=actions, seed=st.integers(0, 50), allowed=st.one_of(st.none(), st.sets(st.integers(0, SLOTS - 1)))
)
def test_every_document_is_found_in_the_leaf_of_its_id_and_nothing_that_is_gone(
    actions: list[tuple[str, int | None, int | None]], seed: int, allowed: set[int] | None
) -> None:
    random, readers, twin = np.random.default_rng(seed), Readers(), {}
    path, rows = GenerativePath(DIMENSION, readers=readers), VectorRows(DIMENSION, readers=readers)
    vectors: dict[int, np.ndarray] = {}
    for what, slot, number in actions:
        if what == "put":
            vectors[slot] = random.normal(size=DIMENSION).astype(np.float32)
            rows.put([slot], [[("text", vectors[slot])]])
            path.put(np.array([slot]), np.array([packed(number)]), vectors[slot][None, :])
            twin[slot] = packed(number)
        elif what == "remove":
            path.remove(np.array([slot]))
            rows.drop([slot])
            twin.pop(slot, None)
        elif what == "tree":
            path.set_leaves([packed(number)], random.normal(size=(1, DIMENSION)).astype(np.float32))
        elif what == "close":
            path.close_leaf(packed(number))
        else:
            path.repair(10, lambda slots: np.stack([vectors[slot] for slot in slots.tolist()]))
    leaves, sizes = path.sizes()
    assert leaves.tolist() == sorted(set(twin.values()))
    assert sizes.tolist() == [list(twin.values()).count(leaf) for leaf in leaves.tolist()]
    for slot in range(SLOTS):
        assert path.leaf_of(slot) == twin.get(slot)
    for leaf in set(twin.values()):
        assert set(path.below(Leaf.unpacked(leaf)).tolist()) == {
            s for s, each in twin.items() if each == leaf
        }

    query = random.normal(size=DIMENSION).astype(np.float32)
    mask = None if allowed is None else np.isin(np.arange(SLOTS), list(allowed))
    found = path.search(
        rows.arrays, ScoringQuery([ScoringPart(query)]).arrays(DIMENSION), query,
        leaves=50, members=1_000, shortlist=50, beam=16, allowed=mask,
    )  # fmt: skip
    expected = set(twin) if allowed is None else set(twin) & allowed
    assert set(found.slots.tolist()) == expected
    assert len(found.slots) == len(expected) == found.members
    path.remove(np.empty(0, dtype=np.int64))  # what was moved last leaves its old leaf with the next change
    seeds = random.choice(SLOTS, 3)
    near = path.search(
        rows.arrays, ScoringQuery([ScoringPart(query)]).arrays(DIMENSION), query,
        leaves=50, members=1_000, shortlist=50, beam=16, allowed=mask, seeds=seeds,
    )  # fmt: skip
    opened = {leaf for leaf in path.leaves_of(seeds).ravel().tolist() if leaf >= 0}
    beside = {slot for slot in expected if opened & set(path.leaves_of(np.array([slot]))[0].tolist())}
    assert set(near.slots.tolist()) == beside
    exact = [float(vectors[slot] @ query) for slot in found.slots.tolist()]
    np.testing.assert_allclose(found.scores, exact, atol=0.2)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 200), first=st.integers(1, CLUSTERS), more=st.integers(1, CLUSTERS))
def test_going_on_behind_the_first_leaves_opens_what_a_wider_search_opens(
    seed: int, first: int, more: int
) -> None:
    random, readers = np.random.default_rng(seed), Readers()
    path, rows = GenerativePath(DIMENSION, readers=readers), VectorRows(DIMENSION, readers=readers)
    leaves = [packed(number) for number in range(CLUSTERS)]
    path.set_leaves(leaves, random.normal(size=(CLUSTERS, DIMENSION)).astype(np.float32))
    vectors = random.normal(size=(SLOTS, DIMENSION)).astype(np.float32)
    for slot, vector in enumerate(vectors):
        rows.put([slot], [[("text", vector)]])
    path.put(np.arange(SLOTS), random.choice(leaves, SLOTS), vectors)
    direction = random.normal(size=DIMENSION).astype(np.float32)
    query = ScoringQuery([ScoringPart(direction)]).arrays(DIMENSION)

    def opened(leaves: int, skip: int = 0) -> tuple[set[int], int, float]:
        found = path.search(
            rows.arrays, query, direction, leaves=leaves, members=SLOTS + 1, shortlist=SLOTS, skip=skip
        )
        return set(found.slots.tolist()), found.opened, found.unopened

    narrow, at_first, _ = opened(first)
    behind, then, left = opened(more, skip=at_first)
    wide, whole, left_wide = opened(at_first + then or 1)
    assert narrow | behind == wide
    assert at_first + then == whole
    assert left == left_wide


def test_readers_beside_moves_splits_and_deletes_find_each_document_that_stays_exactly_once() -> None:
    random, readers = np.random.default_rng(0), Readers()
    path, rows = GenerativePath(DIMENSION, readers=readers), VectorRows(DIMENSION, readers=readers)
    documents = 600
    vectors = random.normal(size=(documents, DIMENSION)).astype(np.float32)
    path.set_leaves(
        [packed(n) for n in range(CLUSTERS)], random.normal(size=(CLUSTERS, DIMENSION)).astype(np.float32)
    )
    rows.put(list(range(documents)), [[("text", vector)] for vector in vectors])
    path.put(np.arange(documents), np.array([packed(n % CLUSTERS) for n in range(documents)]), vectors)
    stays, done, faults = set(range(0, documents, 2)), threading.Event(), []

    def read() -> None:
        query = np.array([1, 0, 0, 0], dtype=np.float32)
        arrays = ScoringQuery([ScoringPart(query)]).arrays(DIMENSION)
        while not done.is_set():
            with readers.reading():
                found = path.search(
                    rows.arrays, arrays, query, leaves=100, members=10_000, shortlist=2_000, beam=64
                )
            slots = found.slots.tolist()
            if len(set(slots)) != len(slots):
                faults.append("a document came twice")
            if not stays <= set(slots):
                faults.append(f"{len(stays - set(slots))} documents that never left were missed")

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    odd = np.arange(1, documents, 2)
    for step in range(150):
        some = random.permutation(documents)[:60]
        path.put(some, np.array([packed(int(n)) for n in random.integers(0, CLUSTERS, 60)]), vectors[some])
        path.remove(random.permutation(odd)[:100])
        path.set_leaves([packed(step % CLUSTERS)], random.normal(size=(1, DIMENSION)).astype(np.float32))
        path.repair(40, lambda slots: vectors[slots])
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_leaves_of_a_large_tree_can_be_given_up_before_there_is_any_document() -> None:
    # A process that starts reads all that became of a tree before it puts its documents in.
    path = GenerativePath(DIMENSION, readers=Readers())
    leaves = [Leaf(0, number // 64, number).packed() for number in range(300)]
    centroids = np.random.default_rng(0).normal(size=(300, DIMENSION)).astype(np.float32)
    path.set_leaves(leaves, centroids)
    for leaf in leaves[70:290]:
        path.close_leaf(leaf)
    path.repair(1_000, lambda slots: centroids[slots])
    path.put(np.arange(10), np.array(leaves[290:]), centroids[290:])
    assert dict(zip(*(each.tolist() for each in path.sizes()), strict=True)) == dict.fromkeys(leaves[290:], 1)
