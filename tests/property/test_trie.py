"""The trie and the beam against a dictionary of leaves."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.beam import LevelCentroids, by_geometry, constrained_beam
from state.trie import LEVEL_SHIFTS, Trie
from streams.semantic_id import Leaf

codes = st.tuples(st.sampled_from([0, 1, 15]), st.sampled_from([0, 7, 255]), st.sampled_from([0, 1, 4095]))
leaves = codes.map(lambda path: Leaf(*path).packed())
DIMENSION = 3


@given(
    changes=st.lists(st.tuples(leaves, st.integers(0, 5)), max_size=40), probes=st.lists(leaves, max_size=4)
)
def test_the_trie_is_the_set_of_its_pairs(changes: list[tuple[int, int]], probes: list[int]) -> None:
    trie, twin = Trie(), set()
    for pair in changes:
        if pair in twin:
            twin.remove(pair)
            trie.remove(*pair)
        else:
            twin.add(pair)
            trie.add(*pair)
        assert len(trie) == len({leaf for leaf, _ in twin})
    for level, shift in enumerate(LEVEL_SHIFTS):
        nodes = sorted({leaf >> shift for leaf, _ in twin})
        assert trie.live(level).tolist() == nodes
        if level:
            parents = np.array(
                [leaf >> LEVEL_SHIFTS[level - 1] for leaf in dict.fromkeys(probes)], dtype=np.int64
            )
            bits = LEVEL_SHIFTS[level - 1] - shift
            found, owner = trie.children(level, parents)
            expected = [
                (node, i) for i, parent in enumerate(parents) for node in nodes if node >> bits == parent
            ]
            assert list(zip(found.tolist(), owner.tolist(), strict=True)) == expected
    assert trie.slots(probes).tolist() == sorted({slot for leaf, slot in twin if leaf in probes})
    for probe in probes:
        path = Leaf.unpacked(probe)
        for length in (1, 2, 3):
            below = {slot for leaf, slot in twin if Leaf.unpacked(leaf)[:length] == path[:length]}
            assert set(trie.below(path[:length])) == below


def naive_beam(live: list[int], scores: list[dict[int, float]], beam: int, keep: int) -> list[int]:
    """The same walk, node by node. A node without a score takes its parent's; the root has 0."""
    kept: dict[int, float] = {0: 0.0}
    for level, shift in enumerate(LEVEL_SHIFTS):
        reached: dict[int, float] = {}
        for leaf in live:
            parent = leaf >> LEVEL_SHIFTS[level - 1] if level else 0
            if parent in kept:
                reached[leaf >> shift] = scores[level].get(leaf >> shift, kept[parent])
        best = sorted(reached, key=lambda node: (-reached[node], node))
        kept = {node: reached[node] for node in best[: beam if level < 2 else keep]}
    return list(kept)


@settings(deadline=None)
@given(
    live=st.lists(leaves, unique=True, max_size=20),
    known=st.lists(leaves, unique=True, max_size=20),
    beam=st.integers(1, 12),
    keep=st.integers(1, 40),
    seed=st.integers(0, 100),
)
def test_the_beam_finds_what_a_walk_node_by_node_finds(
    live: list[int], known: list[int], beam: int, keep: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    trie = Trie()
    for slot, leaf in enumerate(live):
        trie.add(leaf, slot)
    levels = []
    for shift in LEVEL_SHIFTS:
        prefixes = np.array(sorted({leaf >> shift for leaf in known}), dtype=np.int64)
        # Small whole numbers, so that scores are exact and often equal.
        vectors = random.integers(-2, 3, (len(prefixes), DIMENSION)).astype(np.float32)
        levels.append(LevelCentroids(prefixes, vectors))
    query = random.integers(-2, 3, DIMENSION).astype(np.float32)
    found = constrained_beam(trie, by_geometry(levels, query), beam=beam, leaves=keep)

    scores = [
        dict(zip(level.prefixes.tolist(), (level.vectors @ query).tolist(), strict=True)) for level in levels
    ]
    assert found.leaves.tolist() == naive_beam(live, scores, beam, keep)
    assert set(found.leaves.tolist()) <= set(live)
    assert len(set(found.leaves.tolist())) == len(found.leaves)
    assert found.levels.shape == (len(found.leaves), 3)
    np.testing.assert_allclose(found.levels.sum(axis=1), found.scores, atol=1e-5)
    if beam >= 9:
        assert len(found.leaves) == min(keep, len(live))
