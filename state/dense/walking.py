"""The walk through a graph to the nodes nearest to a vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.compiled import Scalar, compiled, observe, prefetch
from state.dense.graph import MOST_LINKS, Graph, Landmarks
from state.dense.nibbles import HALF_SQUARE, halved, middle_of, product

FLAGS, ANSWERS = 2, 2
"""A node stands in a pool shifted by two bits; the upper one says that it may be answered."""
_EXPANDED = 1
_STARTS = 4
_CACHE_LINE = 64
_LONGEST_POOL = 4096
_MOST_VISITED = 1 << 16


class Target(NamedTuple):
    """What is walked to. A node is as near as its product with `numbers`, less `pull` times half its square.

    With `pull` 0 the largest products are nearest (a query), with 1 the smallest distances (a new node).
    """

    numbers: NDArray[np.float32]  # (2, half)
    middle: np.float32
    pull: np.float32


class Scratch(NamedTuple):
    """What one walk writes to. `visited` is all zero between two walks."""

    visited: NDArray[np.uint8]  # (capacity / 8 + 1,) a bit for each node
    trail: NDArray[np.int32]  # (_MOST_VISITED,)
    pool: NDArray[np.int32]  # (_LONGEST_POOL,) nearest first: 4 * node + ANSWERS + _EXPANDED
    nearness: NDArray[np.float32]  # (_LONGEST_POOL,)


def new_scratch(capacity: int) -> Scratch:
    """For walks through a graph of this capacity."""
    return Scratch(
        visited=np.zeros(capacity // 8 + 1, dtype=np.uint8),
        trail=np.zeros(_MOST_VISITED, dtype=np.int32),
        pool=np.zeros(_LONGEST_POOL, dtype=np.int32),
        nearness=np.zeros(_LONGEST_POOL, dtype=np.float32),
    )


@compiled
def find(
    graph: Graph,
    landmarks: Landmarks,
    query: NDArray[np.float32],
    expansion: int,
    allowed: NDArray[np.bool_],
    scratch: Scratch,
    found: NDArray[np.int32],
    scores: NDArray[np.float32],
) -> int:
    """Write the documents nearest to a query (d,), best first and each once; returns how many there are."""
    numbers = halved(query)
    target = Target(numbers, middle_of(numbers), np.float32(0.0))
    size = walk(graph, landmarks, target, expansion, allowed, scratch)
    count = 0
    for at in range(size):
        slot = observe(graph.slots, scratch.pool[at] >> FLAGS)
        if not scratch.pool[at] & ANSWERS or slot < 0:  # removed since the walk met it
            continue
        if not among(slot, found, count):
            found[count], scores[count] = slot, scratch.nearness[at]
            count += 1
            if count == len(found):
                break
    return count


@compiled
def among(number: Scalar, numbers: NDArray[np.int32], count: int) -> bool:
    """Whether a number is one of the first `count`."""
    found = False
    for k in range(count):
        found |= numbers[k] == number
    return found


@compiled
def walk(
    graph: Graph,
    landmarks: Landmarks,
    target: Target,
    expansion: int,
    allowed: NDArray[np.bool_],
    scratch: Scratch,
) -> int:
    """Fill the pool of `scratch` with the nodes nearest to `target`; returns its length.

    The pool is as long as it must be to hold `expansion` nodes that may be answered: a walk among few
    allowed documents widens by itself. An empty `allowed` allows every one.
    """
    codes, weights, slots = graph.codes, graph.weights, graph.slots
    numbers, middle, pull = target.numbers, target.middle, target.pull
    trail, pool, nearness = scratch.trail, scratch.pool, scratch.nearness
    size, answered, following, scored = 0, 0, 0, 0
    seen = 0
    for start in range(_nearest_landmarks(landmarks, target, trail)):
        seen = _visit(trail[start], scratch.visited, trail, seen)  # two landmarks may be one node
    while True:
        for t in range(scored, seen):
            node = np.int64(trail[t])
            near = product(codes, weights, node, numbers, middle) - pull * weights[node, HALF_SQUARE]
            full = answered >= expansion or size == _LONGEST_POOL
            if full and near <= nearness[size - 1]:
                continue
            answer = _may_answer(observe(slots, node), allowed)
            if size == _LONGEST_POOL:
                size -= 1
                answered -= (pool[size] & ANSWERS) != 0
            at = _make_place(near, size, pool, nearness)
            pool[at], nearness[at] = node << FLAGS | (ANSWERS if answer else 0), near
            size += 1
            answered += answer
            following = min(following, at)
            while answered > expansion:
                size -= 1
                answered -= (pool[size] & ANSWERS) != 0
        scored = seen
        while following < size and pool[following] & _EXPANDED:
            following += 1
        if following >= size or seen + MOST_LINKS > _MOST_VISITED:
            break
        seen = _visit_links(graph, pool[following] >> FLAGS, scratch.visited, trail, seen)
        pool[following] |= _EXPANDED
    unmark(scratch.visited, trail, seen)
    return size


@compiled
def _may_answer(slot: int, allowed: NDArray[np.bool_]) -> bool:
    if slot < 0 or len(allowed) == 0:
        return slot >= 0
    return slot < len(allowed) and bool(allowed[slot])


@compiled
def _make_place(near: np.float32, size: int, pool: NDArray[np.int32], nearness: NDArray[np.float32]) -> int:
    """Move what is farther than `near` by one place; returns the place that is free."""
    at = size
    while at > 0 and nearness[at - 1] < near:
        pool[at], nearness[at] = pool[at - 1], nearness[at - 1]
        at -= 1
    return at


@compiled
def _visit_links(
    graph: Graph, node: int, visited: NDArray[np.uint8], trail: NDArray[np.int32], seen: int
) -> int:
    """Add what a node links to and was not visited to the trail; returns its length."""
    codes, weights, links = graph.codes, graph.weights, graph.links
    for k in range(1, observe(links, (node, 0)) + 1):
        other = np.int64(observe(links, (node, k)))
        before = seen
        seen = _visit(other, visited, trail, seen)
        if seen > before:
            for column in range(0, codes.shape[1], _CACHE_LINE):
                prefetch(codes, other, column)
            prefetch(weights, other, 0)
    return seen


@compiled
def _visit(node: Scalar, visited: NDArray[np.uint8], trail: NDArray[np.int32], seen: int) -> int:
    """Add a node to the trail unless it was visited; returns the length of the trail."""
    bit = np.uint8(1 << (node & 7))
    if visited[node >> 3] & bit:
        return seen
    visited[node >> 3] |= bit
    trail[seen] = node
    return seen + 1


@compiled
def mark(visited: NDArray[np.uint8], nodes: NDArray[np.int32], count: int) -> None:
    """Set the bits of the first `count` nodes."""
    for t in range(count):
        visited[nodes[t] >> 3] |= np.uint8(1 << (nodes[t] & 7))


@compiled
def unmark(visited: NDArray[np.uint8], nodes: NDArray[np.int32], count: int) -> None:
    """Clear the bits of these nodes, and those beside them: all that are set belong to the same walk."""
    for t in range(count):
        visited[nodes[t] >> 3] = 0


@compiled
def _nearest_landmarks(landmarks: Landmarks, target: Target, found: NDArray[np.int32]) -> int:
    numbers, middle, pull = target.numbers, target.middle, target.pull
    nodes, codes, weights = landmarks.nodes, landmarks.codes, landmarks.weights
    best = np.empty(_STARTS, dtype=np.float32)
    count = 0
    for mark in range(len(nodes)):
        node = observe(nodes, mark)
        if node < 0:
            break
        near = product(codes, weights, mark, numbers, middle) - pull * weights[mark, HALF_SQUARE]
        if count == _STARTS and near <= best[count - 1]:
            continue
        count = min(count + 1, _STARTS)
        at = count - 1
        while at > 0 and best[at - 1] < near:
            best[at], found[at] = best[at - 1], found[at - 1]
            at -= 1
        best[at], found[at] = near, node
    return count
