"""Splits, merges and new subcategories: what they decide, and when they decide nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.membership import Membership
from models.codebooks import (
    Codebook,
    Decision,
    LeafChange,
    merge,
    outgrown,
    oversized,
    recentre,
    regroup,
    split,
    undersized,
)
from models.codebooks.growth import HYSTERESIS, NEIGHBOURS, SPLIT_ABOVE
from models.codebooks.halves import SMALLEST, halves
from models.codebooks.regrouping import FAR
from streams.semantic_id import CLUSTER_BITS, CLUSTERS, Leaf

DIMENSION = 4


class World:
    """A tree, its documents, and decisions done to both."""

    def __init__(self, book: Codebook, vectors: np.ndarray) -> None:
        self.book, self.vectors = book, vectors
        self.documents = Membership()
        self.documents.put(np.arange(len(vectors)), book.nearest(vectors, 1)[0][:, 0])

    def members(self, leaf: int) -> tuple[np.ndarray, np.ndarray]:
        documents = self.documents.documents(leaf)
        return documents, self.vectors[documents]

    def do(self, decision: Decision | None) -> Decision:
        assert decision is not None
        self.book = self.book.apply(decision.changes)
        self.documents.apply(decision)
        return decision


def book_of(centroids: dict[Leaf, np.ndarray]) -> Codebook:
    codes = np.array([leaf.packed() for leaf in centroids])
    rows = np.array(list(centroids.values()), dtype=np.float32)
    return Codebook.of(codes, rows, epoch=1, stamp="s", fitted_on=10)


def at(*first: float) -> np.ndarray:
    return np.array([*first, *[0.0] * (DIMENSION - len(first))], dtype=np.float32)


def heap(n: int, middle: np.ndarray, seed: int = 0, width: float = 0.1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((n, DIMENSION)) * width
    return (middle + noise).astype(np.float32)


HOME, FAR_AWAY = Leaf(2, 5, 0), Leaf(2, 5, 1)


def two_heaps(large: int = 200, small: int = 100) -> World:
    """One leaf that holds two heaps, and another leaf far from both."""
    book = book_of({HOME: at(0.5), FAR_AWAY: at(50.0)})
    return World(book, np.concatenate([heap(large, at(0.0)), heap(small, at(1.0)), heap(9, at(50.0))]))


# -- halves --------------------------------------------------------------------------------------------------


def test_two_heaps_are_told_apart():
    smaller = halves(np.concatenate([heap(60, at(0.0)), heap(40, at(1.0))]))
    assert smaller.tolist() == [False] * 60 + [True] * 40


def test_the_smaller_side_has_its_share_at_least():
    smaller = halves(np.concatenate([heap(99, at(0.0)), heap(1, at(9.0))]))
    assert smaller.sum() == round(SMALLEST * 100)
    assert smaller[99]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_equal_vectors_and_single_ones_cannot_be_cut(n):
    assert halves(np.ones((n, DIMENSION), dtype=np.float32)) is None


def test_vectors_that_differ_less_than_a_centroid_can_show_cannot_be_cut():
    assert halves(1 + heap(50, at(0.0), width=1e-6)) is None


# -- split ---------------------------------------------------------------------------------------------------


def test_a_split_keeps_the_code_of_the_larger_side():
    world = two_heaps()
    decision = world.do(split(world.book, HOME.packed(), world.members))
    born = Leaf(2, 5, 2).packed()
    assert decision.reason == "split"
    assert decision.documents.tolist() == list(range(200, 300))
    assert decision.to_leaves.tolist() == [born] * 100
    assert [(c.leaf, c.born_from) for c in decision.changes] == [(HOME.packed(), None), (born, HOME.packed())]
    for leaf in (HOME.packed(), born):
        mean = world.members(leaf)[1].mean(axis=0)
        assert world.book.centroid(leaf) == pytest.approx(mean, abs=1e-3)


def test_a_split_settles_the_border_with_leaves_around():
    # Documents of the neighbour lie nearer to the new leaf than to their own.
    near = Leaf(3, 0, 0)
    book = book_of({HOME: at(0.5), near: at(2.5)})
    world = World(book, np.concatenate([heap(200, at(0.0)), heap(100, at(1.0)), heap(50, at(3.0))]))
    strays = np.arange(len(world.vectors), len(world.vectors) + 5)
    world.vectors = np.concatenate([world.vectors, heap(5, at(1.6), width=0.01)])
    world.documents.put(strays, np.full(5, near.packed()))
    decision = world.do(split(world.book, HOME.packed(), world.members))
    born = Leaf(2, 5, 1).packed()
    assert {world.documents.leaf_of(stray) for stray in strays.tolist()} == {born}
    assert near.packed() in [change.leaf for change in decision.changes]
    assert world.book.centroid(near.packed())[0] == pytest.approx(3.0, abs=0.1)


def test_the_border_is_settled_as_one_document_after_the_other_would_be():
    random = np.random.default_rng(3)
    vectors = random.standard_normal((1_500, DIMENSION)).astype(np.float32)
    world = World(book_of({Leaf(0, n % 3, n // 3): vectors[n] for n in range(12)}), vectors)
    leaf = max(world.documents.counts().items(), key=lambda pair: pair[1])[0]
    documents, inside = world.members(leaf)
    smaller = halves(inside)
    decision = split(world.book, leaf, world.members)
    born = decision.changes[1].leaf
    centroids = dict(zip(world.book.leaves.tolist(), world.book.centroids, strict=True))
    assert len(centroids) - 1 <= NEIGHBOURS  # so that all leaves are around
    centroids |= {leaf: inside[~smaller].mean(axis=0), born: inside[smaller].mean(axis=0)}
    side = {
        number: born if small else leaf for number, small in zip(documents.tolist(), smaller, strict=True)
    }
    expected = {}
    for number, vector in enumerate(vectors):
        old = world.documents.leaf_of(number)
        now = side.get(number, old)
        reachable = centroids if old == leaf else {each: centroids[each] for each in (now, leaf, born)}
        best = min(reachable, key=lambda each: squared(vector - centroids[each]))
        if squared(vector - centroids[now]) > HYSTERESIS * squared(vector - centroids[best]):
            now = best
        if now != old:
            expected[number] = now
    assert dict(zip(decision.documents.tolist(), decision.to_leaves.tolist(), strict=True)) == expected
    assert set(expected.values()) > {leaf, born}


def squared(vector: np.ndarray) -> float:
    return float(vector @ vector)


def test_equal_documents_are_not_split():
    world = World(book_of({HOME: at(0.0), FAR_AWAY: at(9.0)}), np.zeros((300, DIMENSION), dtype=np.float32))
    assert split(world.book, HOME.packed(), world.members) is None


def test_a_subcategory_without_codes_left_is_not_split():
    world = two_heaps()
    last = Leaf(2, 5, CLUSTERS - 1).packed()
    world.book = world.book.apply([LeafChange(last, at(99.0)), LeafChange(last, None)])
    assert split(world.book, HOME.packed(), world.members) is None


def test_a_leaf_that_is_not_there_is_not_split():
    world = two_heaps()
    assert split(world.book, Leaf(0, 0, 0).packed(), world.members) is None


def test_a_code_that_was_given_up_is_not_used_again():
    world = two_heaps()
    used = Leaf(2, 5, 7).packed()
    world.book = world.book.apply([LeafChange(used, at(99.0)), LeafChange(used, None)])
    decision = world.do(split(world.book, HOME.packed(), world.members))
    assert decision.changes[1].leaf == Leaf(2, 5, 8).packed()


def test_leaves_over_the_cap_come_largest_first():
    counts = {1: SPLIT_ABOVE, 2: SPLIT_ABOVE + 1, 3: 900, 4: 5, 5: 900}
    assert oversized(counts) == [3, 5, 2]


# -- merge ---------------------------------------------------------------------------------------------------


def test_a_merged_leaf_sends_its_documents_to_the_nearest_and_takes_nothing_more():
    small = Leaf(2, 5, 2)
    world = World(
        book_of({HOME: at(0.0), FAR_AWAY: at(50.0), small: at(49.0)}),
        np.concatenate([heap(90, at(0.0)), heap(90, at(50.0)), heap(3, at(49.0))]),
    )
    assert undersized(world.book, world.documents.counts()) == [small.packed()]
    decision = world.do(merge(world.book, [small.packed()], world.members))
    assert decision.documents.tolist() == [180, 181, 182]
    assert decision.to_leaves.tolist() == [FAR_AWAY.packed()] * 3
    assert small.packed() not in world.book
    assert world.book.nearest(at(49.0)[None], 1)[0].tolist() == [[FAR_AWAY.packed()]]


def test_documents_that_reach_a_leaf_after_its_end_are_sent_on():
    world = two_heaps()
    world.book = world.book.apply([LeafChange(FAR_AWAY.packed(), None)])
    decision = world.do(merge(world.book, [FAR_AWAY.packed()], world.members))
    assert decision.changes == ()
    assert set(decision.to_leaves.tolist()) == {HOME.packed()}
    assert merge(world.book, [FAR_AWAY.packed()], world.members) is None


def test_the_last_leaf_is_not_merged():
    world = two_heaps()
    assert merge(world.book, [HOME.packed(), FAR_AWAY.packed()], world.members) is None
    assert merge(world.book, [], world.members) is None


def test_an_empty_leaf_is_merged_without_moving_anything():
    world = two_heaps()
    world.book = world.book.apply([LeafChange(Leaf(1, 1, 1).packed(), at(-70.0))])
    assert undersized(world.book, world.documents.counts())[0] == Leaf(1, 1, 1).packed()
    decision = world.do(merge(world.book, [Leaf(1, 1, 1).packed()], world.members))
    assert len(decision.documents) == 0


# -- recentre ------------------------------------------------------------------------------------------------


def test_a_centroid_goes_to_the_middle_and_what_belongs_elsewhere_goes_there():
    world = World(book_of({HOME: at(0.0), FAR_AWAY: at(4.0)}), heap(40, at(1.5)))
    later = np.arange(40, 140)
    world.vectors = np.concatenate([world.vectors, heap(100, at(-3.0))])
    world.documents.put(later, np.full(100, HOME.packed()))
    held, inside = world.members(HOME.packed())
    decision = world.do(recentre(world.book, [HOME.packed()], world.members))
    assert [change.leaf for change in decision.changes] == [HOME.packed()]
    assert world.book.centroid(HOME.packed()) == pytest.approx(inside.mean(axis=0), abs=1e-3)
    expected = [
        n
        for n, vector in zip(held.tolist(), inside, strict=True)
        if squared(vector - world.book.centroid(HOME.packed())) > HYSTERESIS * squared(vector - at(4.0))
    ]
    assert decision.documents.tolist() == expected
    assert set(decision.to_leaves.tolist()) == {FAR_AWAY.packed()}


def test_leaves_that_are_gone_or_empty_are_not_recentred():
    world = two_heaps()
    world.book = world.book.apply([LeafChange(Leaf(1, 1, 1).packed(), at(-70.0))])
    assert recentre(world.book, [Leaf(1, 1, 1).packed(), Leaf(9, 9, 9).packed()], world.members) is None


def test_a_leaf_is_recentred_when_it_grew_or_shrank_by_an_eighth():
    when_set = {1: 80, 2: 80, 3: 80, 4: 80}
    assert outgrown({1: 90, 2: 91, 3: 69, 4: 70, 5: 1}, when_set) == [2, 3, 5]


# -- subcategories -------------------------------------------------------------------------------------------


def cross(middle: np.ndarray) -> list[np.ndarray]:
    """Points in each direction from a middle, equally far."""
    steps = np.eye(DIMENSION, dtype=np.float32)
    return [middle + sign * step for step in steps for sign in (1, -1)]


def in_two_subcategories(*stray: float) -> World:
    """Subcategories 0.0 around 0 and 1.0 around 50, eight leaves each; one more leaf of 0.0 stands at `stray`."""
    centroids = {Leaf(0, 0, n): point for n, point in enumerate([*cross(at(0.0)), at(*stray)])}
    centroids |= {Leaf(1, 0, n): point for n, point in enumerate(cross(at(50.0)))}
    return World(book_of(centroids), np.array(list(centroids.values()), dtype=np.float32))


def test_a_leaf_that_is_nearer_to_another_subcategory_moves_there_with_its_documents():
    world = in_two_subcategories(48.9, 0.2)
    decision = world.do(regroup(world.book, world.members))
    old, new = Leaf(0, 0, 8).packed(), Leaf(1, 0, 8).packed()
    assert [(c.leaf, c.born_from) for c in decision.changes] == [(old, None), (new, old)]
    assert decision.documents.tolist() == [8]
    assert decision.to_leaves.tolist() == [new]
    assert regroup(world.book, world.members) is None


def test_a_leaf_far_from_every_subcategory_founds_one():
    world = in_two_subcategories(0.0, 0.0, 40.0)
    decision = world.do(regroup(world.book, world.members))
    assert decision.changes[1].leaf == Leaf(0, 1, 0).packed()
    assert world.documents.leaf_of(8) == Leaf(0, 1, 0).packed()
    assert FAR > 1


def test_far_leaves_that_are_near_each_other_found_one_together():
    world = in_two_subcategories(0.0, 0.0, 40.0)
    world.book = world.book.apply([LeafChange(Leaf(0, 0, 9).packed(), at(0.0, 0.0, 40.5))])
    decision = world.do(regroup(world.book, world.members))
    assert {change.leaf for change in decision.changes[1::2]} == {
        Leaf(0, 1, 0).packed(),
        Leaf(0, 1, 1).packed(),
    }


def test_a_subcategory_with_too_many_leaves_is_cut_in_two():
    centroids = {Leaf(0, 0, n): heap(1, at(0.0 if n < 60 else 2.0), seed=n)[0] for n in range(100)}
    world = World(book_of(centroids), np.array(list(centroids.values()), dtype=np.float32))
    decision = world.do(regroup(world.book, world.members))
    assert [below.prefix << CLUSTER_BITS for below in world.book.subcategories] == [
        Leaf(0, 0, 0).packed(),
        Leaf(0, 1, 0).packed(),
    ]
    assert len(decision.documents) == 40
    assert len(world.book) == 100


def test_a_tree_that_stands_right_stays():
    world = in_two_subcategories(0.0, 0.0, 0.5)
    assert regroup(world.book, world.members) is None


# -- membership ----------------------------------------------------------------------------------------------


def test_a_document_is_in_one_leaf_and_then_in_none():
    documents = Membership()
    documents.put(np.array([5, 3]), np.array([10, 10]))
    documents.put(np.array([5]), np.array([20]))
    assert documents.counts() == {10: 1, 20: 1}
    assert (documents.leaf_of(5), documents.leaf_of(4)) == (20, None)
    assert documents.documents(10).tolist() == [3]
    documents.drop([5, 77])
    assert documents.counts() == {10: 1}
    assert documents.documents(20).tolist() == []
    assert len(documents) == 1
