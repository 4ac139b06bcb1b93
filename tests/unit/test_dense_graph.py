from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from state.dense import DenseIndex, ExactScan
from state.dense.graph import HIDDEN, LEAVING, MOST_LINKS, Graph
from state.dense.linking import place
from state.dense.walking import find

DIMENSION = 32


def clustered(count: int, *, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, DIMENSION))
    vectors = centres[random.integers(40, size=count)] + 0.7 * random.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(vectors: NDArray[np.float32], **settings: int) -> DenseIndex:
    index = DenseIndex(vectors.shape[1], **settings)
    for slot, vector in enumerate(vectors):
        index.put(slot, [vector], identity=slot, version=index.version(slot))
    return index


def graph_of(index: DenseIndex) -> Graph:
    return index._graph.walkable.graph


def share_found(index: DenseIndex, vectors: NDArray[np.float32], live: NDArray[np.int64]) -> float:
    """Of the ten nearest by exact vectors, the share among the 64 that a walk answers."""
    found = 0
    queries = clustered(100, seed=1)
    for query in queries:
        nearest = live[np.argsort(-(vectors[live] @ query))[:10]]
        found += len(np.intersect1d(nearest, index.search(query, 64, expansion=64)[0]))
    return found / (10 * len(queries))


def mend(index: DenseIndex) -> None:
    while index.upkeep(500):
        pass


def test_a_walk_finds_nearly_all_of_the_nearest() -> None:
    vectors = clustered(4000)
    assert share_found(filled(vectors), vectors, np.arange(4000)) > 0.96


def test_what_grew_from_a_small_capacity_is_as_good() -> None:
    vectors = clustered(1000)
    grown, roomy = filled(vectors, capacity=3), filled(vectors, capacity=5000)
    query = clustered(1, seed=2)[0]
    for one, other in zip(grown.search(query, 50, expansion=64), roomy.search(query, 50, expansion=64)):
        assert one.tolist() == other.tolist()


def test_no_list_names_its_own_node_twice_the_same_or_a_node_that_is_not_there() -> None:
    graph = graph_of(filled(clustered(1000)))
    for node in range(1000):
        named = graph.links[node, 1 : graph.links[node, 0] + 1].tolist()
        assert len(set(named)) == len(named) <= MOST_LINKS
        assert node not in named
        assert all(0 <= other < 1000 for other in named)


def test_mended_lists_name_no_removed_node_and_the_nodes_are_used_again() -> None:
    vectors = clustered(1200)
    index = filled(vectors[:1000])
    for slot in range(0, 600):
        index.remove(slot)
    mend(index)
    graph = graph_of(index)
    free = np.flatnonzero(graph.slots[:1000] == HIDDEN)
    assert len(free) == 600
    for node in np.flatnonzero(graph.slots[:1000] >= 0):
        assert not np.isin(graph.links[node, 1 : graph.links[node, 0] + 1], free).any()
    for slot in range(1000, 1200):
        index.put(slot, [vectors[slot]], identity=slot, version=index.version(slot))
    assert index.nodes == 1000


@pytest.mark.parametrize("by_cluster", [False, True])
def test_half_of_the_documents_can_go_without_a_loss_of_what_is_found(by_cluster: bool) -> None:
    vectors = clustered(3000)
    nearness = vectors @ vectors[0]
    gone = np.argsort(-nearness if by_cluster else np.random.default_rng(3).random(3000))[:1500]
    live = np.setdiff1d(np.arange(3000), gone)
    index = filled(vectors)
    for slot in gone.tolist():
        index.remove(slot)
    assert share_found(index, vectors, live) > 0.97
    mend(index)
    assert share_found(index, vectors, live) > 0.97


def test_documents_that_change_over_and_over_stay_as_well_found_as_in_a_new_index() -> None:
    vectors = clustered(6000)
    index = filled(vectors[:1000])
    for slot in range(1000, 6000):
        index.remove(slot - 1000)
        index.put(slot, [vectors[slot]], identity=slot, version=index.version(slot))
        index.upkeep(32)
    live = np.arange(5000, 6000)
    anew = DenseIndex(DIMENSION)
    for slot in live.tolist():
        anew.put(slot, [vectors[slot]], identity=slot, version=anew.version(slot))
    assert share_found(index, vectors, live) > share_found(anew, vectors, live) - 0.01


def test_an_index_from_which_everything_was_removed_takes_documents_again() -> None:
    vectors = clustered(300)
    index = filled(vectors)
    for slot in range(300):
        index.remove(slot)
    assert index.search(vectors[0], 10, expansion=10)[0].tolist() == []
    mend(index)
    for slot in range(50):
        index.put(slot, [vectors[slot]], identity=slot, version=index.version(slot))
    assert [index.search(vectors[slot], 1, expansion=10)[0].tolist() for slot in range(50)] == [
        [slot] for slot in range(50)
    ]


def test_few_allowed_documents_are_found_as_well_as_many() -> None:
    vectors = clustered(4000)
    index, exact = filled(vectors), ExactScan(DIMENSION)
    for slot, vector in enumerate(vectors):
        exact.put(slot, [vector], identity=slot, version=0)
    allowed = np.random.default_rng(5).random(4000) < 0.05
    share = []
    for query in clustered(50, seed=6):
        nearest, _ = exact.search(query, 10, expansion=10, allowed=allowed)
        found, _ = index.search(query, 64, expansion=64, allowed=allowed)
        assert allowed[found].all()
        share.append(len(np.intersect1d(nearest, found)) / 10)
    assert np.mean(share) > 0.95


def test_nothing_is_compiled_again_for_arrays_that_cannot_be_written_or_have_gaps() -> None:
    vectors = clustered(20)
    index = filled(vectors)
    frozen, allowed = vectors[3].copy(), np.ones(40, dtype=np.bool_)[::2]
    index.search(vectors[3], 1, expansion=5, allowed=np.ones(20, dtype=np.bool_))
    compiled = len(find.signatures), len(place.signatures)
    frozen.flags.writeable = False
    assert index.search(frozen, 1, expansion=5, allowed=allowed)[0].tolist() == [3]
    index.put(20, [frozen, np.repeat(frozen, 2)[::2]], identity=20, version=index.version(20))
    assert (len(find.signatures), len(place.signatures)) == compiled


def test_nothing_is_missed_where_two_landmarks_are_one_node() -> None:
    vectors = clustered(60)
    index = filled(vectors)
    landmarks = index._graph.landmarks
    index._graph._set_landmark(1, int(landmarks[0]))
    assert sorted(index.search(vectors[0], 60, expansion=60)[0].tolist()) == list(range(60))


def test_nothing_leads_to_a_free_node_while_documents_come_and_go() -> None:
    vectors, random = clustered(4000), np.random.default_rng(4)
    index = DenseIndex(DIMENSION, capacity=8)
    for number, vector in enumerate(vectors):
        slot = int(random.integers(150))
        index.remove(slot)
        index.put(slot, [vector], identity=number, version=index.version(slot))
        index.upkeep(16)
        if number % 40 == 0:
            graph, free = graph_of(index), np.zeros(index.nodes, dtype=np.bool_)
            free[index._graph._free] = True
            for node in np.flatnonzero(~free):
                assert not free[graph.links[node, 1 : graph.links[node, 0] + 1]].any()
            assert not free[index._graph.landmarks].any()
    assert index.nodes < 400


def test_nodes_wait_for_the_walk_that_may_hold_them_before_they_are_used_again() -> None:
    index = filled(clustered(200))
    for slot in range(100):
        index.remove(slot)
    with index._graph.readers.reading():
        for _ in range(100):
            index.upkeep(50)
        assert (graph_of(index).slots[:200] == LEAVING).sum() == 100
    mend(index)
    assert (graph_of(index).slots[:200] == LEAVING).sum() == 0
