"""Whatever is decided, in whatever order: each document is in one living leaf, and no code is used twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.membership import Membership
from models.codebooks import Codebook, LeafChange, merge, recentre, regroup, split, undersized
from streams.semantic_id import CLUSTER_BITS, Leaf

DIMENSION = 3
paths = st.builds(Leaf, st.sampled_from([0, 15]), st.sampled_from([0, 255]), st.integers(0, 3))
points = st.tuples(*[st.integers(-4, 4)] * DIMENSION).map(lambda p: np.array(p, dtype=np.float32))
trees = st.dictionaries(paths, points, min_size=1, max_size=8)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(points, min_size=1, max_size=12)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("split"), st.integers(0, 20)),
        st.tuples(st.just("merge"), st.lists(st.integers(0, 20), max_size=4)),
        st.tuples(st.just("recentre"), st.lists(st.integers(0, 20), max_size=4)),
        st.tuples(st.just("merge small"), st.none()),
        st.tuples(st.just("regroup"), st.none()),
    ),
    max_size=12,
)


def book_of(tree: dict[Leaf, np.ndarray]) -> Codebook:
    codes = np.array([leaf.packed() for leaf in tree])
    return Codebook.of(codes, np.stack(list(tree.values())), epoch=1, stamp="s", fitted_on=1)


def decide(what: str, asked: object, book: Codebook, documents: Membership, members):
    leaves = book.leaves.tolist()
    if what == "split":
        return split(book, leaves[asked % len(leaves)], members)
    if what == "merge":
        return merge(book, {leaves[each % len(leaves)] for each in asked}, members)
    if what == "recentre":
        return recentre(book, {leaves[each % len(leaves)] for each in asked}, members)
    if what == "merge small":
        return merge(book, undersized(book, documents.counts()), members)
    return regroup(book, members)


@settings(deadline=None, max_examples=150)
@given(tree=trees, steps=steps)
def test_every_document_is_in_one_living_leaf_after_any_decisions(tree, steps):
    book, documents = book_of(tree), Membership()
    vectors: list[np.ndarray] = []
    live: set[int] = set()
    ever = set(book.leaves.tolist())

    def members(leaf: int):
        there = documents.documents(leaf)
        return there, np.array([vectors[n] for n in there], dtype=np.float32).reshape(len(there), DIMENSION)

    for what, asked in steps:
        if what == "put":
            new = np.arange(len(vectors), len(vectors) + len(asked))
            vectors += asked
            live |= set(new.tolist())
            documents.put(new, book.nearest(np.stack(asked), 1)[0][:, 0])
        elif what == "drop":
            documents.drop([asked])
            live.discard(asked)
        else:
            before = book
            decision = decide(what, asked, book, documents, members)
            again = decide(what, asked, book, documents, members)
            assert (decision is None) == (again is None)
            if decision is None:
                continue
            assert decision.documents.tolist() == again.documents.tolist()
            assert decision.to_leaves.tolist() == again.to_leaves.tolist()
            assert len(set(decision.documents.tolist())) == len(decision.documents)
            book = book.apply(decision.changes)
            documents.apply(decision)
            born = [change for change in decision.changes if change.leaf not in before]
            assert not {change.leaf for change in born if change.centroid is not None} & ever
            ever |= {change.leaf for change in born}
            assert all(leaf in book for leaf in decision.to_leaves.tolist())
        counts = documents.counts()
        assert all(leaf in book for leaf in counts)
        assert sorted(n for leaf in counts for n in documents.documents(leaf).tolist()) == sorted(live)


@settings(deadline=None)
@given(
    tree=trees,
    batches=st.lists(st.lists(st.tuples(paths, st.none() | points), max_size=6), max_size=5),
)
def test_changes_do_what_they_do_to_a_dictionary(tree, batches):
    book = book_of(tree)
    twin = {leaf.packed(): centroid for leaf, centroid in tree.items()}
    gone: set[int] = set()
    for batch in batches:
        changes, left = [], dict(twin)
        for path, centroid in batch:
            leaf = path.packed()
            if leaf in gone:
                continue
            if centroid is None:
                if len(left) - (leaf in left) == 0:
                    continue
                left.pop(leaf, None)
                gone.add(leaf)
            else:
                left[leaf] = centroid
            changes.append(LeafChange(leaf, centroid))
        before = book
        book, twin = book.apply(changes), left
        assert book.leaves.tolist() == sorted(twin)
        assert all(np.array_equal(book.centroid(leaf), centroid) for leaf, centroid in twin.items())
        assert book.gone == gone
        assert before.leaves.tolist() == sorted(before.leaves.tolist())
        prefixes = [below.prefix for below in book.subcategories]
        assert prefixes == sorted({leaf >> CLUSTER_BITS for leaf in twin})
    again = Codebook.from_bytes(book.to_bytes())
    assert again.leaves.tolist() == book.leaves.tolist()
    assert np.array_equal(again.centroids, book.centroids.astype(np.float16))
    assert again.gone == book.gone
