"""Looking at the tree of ids from above: how many documents stand below each branch, and which are typical."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.bitmaps import slots_of
from state.document_table import NO_ID, packed_prefix
from state.live_index import LiveIndex
from streams.semantic_id import CLUSTER_BITS, INSTANCE_BITS, LEVEL_SIZES, SUBCATEGORY_BITS

Slots = NDArray[np.int64]

LEVELS = 3
_SHIFTS = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)
"""By how many bits a packed leaf is shifted to give its prefix at each level."""
_SAMPLE = 256
"""The centre of a branch is the mean of so many of its documents, evenly taken."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch: one to three codes, how many documents and branches are below it, slots of typical documents."""

    prefix: tuple[int, ...]
    documents: int
    children: int
    typical: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Node:
    level: int
    packed: int
    documents: int
    children: int
    members: slice

    @property
    def path(self) -> tuple[int, int]:
        """In order of these, a branch is followed by those below it."""
        return self.packed << _SHIFTS[self.level], self.level


def branches_of(
    index: LiveIndex,
    prefix: Sequence[int],
    *,
    depth: int,
    most: int,
    typical: int,
    allowed: BitMap | None = None,
) -> list[Branch]:
    """The branch of a prefix in the active epoch and those up to `depth` levels below it, in order of paths.

    Of more than `most`, those with most documents. `allowed`: documents that count. Call it while `reading()`.
    """
    leaves, slots = _members(index, prefix, allowed)
    levels = range(max(len(prefix) - 1, 0), min(len(prefix) + depth, LEVELS))
    nodes = [node for level in levels for node in _nodes(leaves, level)]
    nodes.sort(key=lambda node: (-node.documents, node.path))
    return [
        Branch(_codes(node), node.documents, node.children, _typical(index, slots[node.members], typical))
        for node in sorted(nodes[:most], key=lambda node: node.path)
    ]


def _members(index: LiveIndex, prefix: Sequence[int], allowed: BitMap | None) -> tuple[Slots, Slots]:
    """Packed leaves (n,), ascending, and slots (n,) of the documents below a prefix."""
    ids = index.packed_ids()
    slots = slots_of(index.every() if allowed is None else allowed)
    slots = slots[slots < len(ids)]
    ids = ids[slots]
    leaves = ids >> INSTANCE_BITS
    wanted = ids != NO_ID
    if prefix:
        packed, bits = packed_prefix(prefix)
        wanted &= ids >> bits == packed
    leaves, slots = leaves[wanted], slots[wanted]
    order = np.argsort(leaves, kind="stable")
    return leaves[order], slots[order]


def _nodes(leaves: Slots, level: int) -> Iterator[_Node]:
    nodes, starts = np.unique(leaves >> _SHIFTS[level], return_index=True)
    ends = np.append(starts, len(leaves))[1:]
    children = np.zeros(len(nodes), dtype=np.int64)
    if level + 1 < LEVELS:
        inner = np.unique(leaves >> _SHIFTS[level + 1])
        below = _SHIFTS[level] - _SHIFTS[level + 1]
        children = np.unique(inner >> below, return_counts=True)[1]
    for packed, start, end, count in zip(nodes, starts, ends, children, strict=True):
        yield _Node(level, int(packed), int(end - start), int(count), slice(int(start), int(end)))


def _codes(node: _Node) -> tuple[int, ...]:
    codes: list[int] = []
    packed = node.packed
    for size in reversed(LEVEL_SIZES[: node.level + 1]):
        packed, code = divmod(packed, size)
        codes.append(code)
    return tuple(reversed(codes))


def _typical(index: LiveIndex, members: Slots, count: int) -> list[int]:
    """Those of a sample of the members that are nearest to its mean."""
    if not count:
        return []
    sample = members[np.linspace(0, len(members) - 1, min(len(members), _SAMPLE)).astype(np.int64)]
    vectors = index.fused(sample)
    distances = np.square(vectors - vectors.mean(axis=0)).sum(axis=1)
    found: list[int] = sample[np.argsort(distances, kind="stable")[:count]].tolist()
    return found
