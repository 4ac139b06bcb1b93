"""Placing a new node: its nearest nodes are found, pruned to links, and told.

Links are pruned as in HNSW and DiskANN (Subramanya and others, 2019): a candidate is left out when one that
was chosen before it is nearer to it than the node itself. Those that stay lead to different places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.compiled import compiled, publish
from state.dense.graph import HIDDEN, MOST_LINKS, Graph, Landmarks
from state.dense.nibbles import HALF_SQUARE, decode, encode, halved, middle_of, product
from state.dense.walking import FLAGS, Scratch, Target, among, walk

MOST_CANDIDATES = 1024


class Room(NamedTuple):
    """What linking writes to: candidates with their nearness to a node, the chosen ones, and two vectors."""

    candidates: NDArray[np.int32]  # (MOST_CANDIDATES,)
    nearness: NDArray[np.float32]  # (MOST_CANDIDATES,)
    chosen: NDArray[np.int32]  # (MOST_LINKS,)
    base: NDArray[np.float32]  # (2, half)
    other: NDArray[np.float32]  # (2, half)


def new_room(half: int) -> Room:
    """For rows of `half` bytes."""
    return Room(
        candidates=np.zeros(MOST_CANDIDATES, dtype=np.int32),
        nearness=np.zeros(MOST_CANDIDATES, dtype=np.float32),
        chosen=np.zeros(MOST_LINKS, dtype=np.int32),
        base=np.zeros((2, half), dtype=np.float32),
        other=np.zeros((2, half), dtype=np.float32),
    )


@compiled
def place(
    graph: Graph,
    landmarks: Landmarks,
    node: int,
    vector: NDArray[np.float32],
    expansion: int,
    scratch: Scratch,
    room: Room,
) -> None:
    """Hold a vector (d,) in a node that nothing links to, and link it with its neighbours."""
    numbers = halved(vector)
    encode(numbers, graph.codes, graph.weights, node)
    settle(graph, landmarks, node, numbers, expansion, scratch, room)


@compiled
def settle(
    graph: Graph,
    landmarks: Landmarks,
    node: int,
    numbers: NDArray[np.float32],
    expansion: int,
    scratch: Scratch,
    room: Room,
) -> None:
    """Find the neighbours of a node, which holds `numbers` (2, half), and link it with them.

    Its own list is whole before any other list names it: a walk that meets it can always go on.
    """
    target = Target(numbers, middle_of(numbers), np.float32(1.0))
    size = walk(graph, landmarks, target, expansion, np.empty(0, dtype=np.bool_), scratch)
    count = 0
    for at in range(min(size, MOST_CANDIDATES)):
        other = scratch.pool[at] >> FLAGS
        if graph.slots[other] >= HIDDEN and other != node:
            room.candidates[count], room.nearness[count] = other, scratch.nearness[at]
            count += 1
    relink(graph, node, count, 0, MOST_LINKS, False, room)
    for k in range(1, graph.links[node, 0] + 1):
        _tell(graph, graph.links[node, k], node, room)


@compiled
def relink(graph: Graph, node: int, count: int, kept: int, most: int, fill: bool, room: Room) -> None:
    """Link `node` with the first `kept` of `room.chosen` and, up to `most`, with pruned candidates.

    The first `count` candidates are looked at, nearest first; the nearness of one is its product with the
    node, less half its square. `fill`: those that were left out come back, nearest first, up to `most`.
    """
    links, candidates, chosen = graph.links, room.candidates, room.chosen
    for i in range(count):
        if kept == most:
            break
        if _leads_elsewhere(graph, node, candidates[i], room.nearness[i], kept, room):
            chosen[kept] = candidates[i]
            kept += 1
    for i in range(count if fill else 0):
        if kept == most:
            break
        if not among(candidates[i], chosen, kept):
            chosen[kept] = candidates[i]
            kept += 1
    for k in range(kept):
        publish(links, (node, k + 1), chosen[k])
    publish(links, (node, 0), kept)


@compiled
def _leads_elsewhere(
    graph: Graph, node: int, candidate: int, nearness: np.float32, kept: int, room: Room
) -> bool:
    """Whether a candidate is nearer to `node` than to each of the first `kept` chosen ones."""
    codes, weights, chosen, other = graph.codes, graph.weights, room.chosen, room.other
    decode(codes, weights, candidate, other)
    middle = middle_of(other)
    # Half the squared distances to the node and to a chosen one, both less the candidate's half square.
    distance = weights[node, HALF_SQUARE] - nearness - weights[candidate, HALF_SQUARE]
    for k in range(kept):
        near = product(codes, weights, chosen[k], other, middle)
        if weights[chosen[k], HALF_SQUARE] - near < distance:
            return False
    return True


@compiled
def rank(graph: Graph, node: int, count: int, room: Room) -> None:
    """Put the first `count` candidates of `room` in order, nearest to `node` first."""
    codes, weights = graph.codes, graph.weights
    candidates, nearness, base = room.candidates, room.nearness, room.base
    decode(codes, weights, node, base)
    middle = middle_of(base)
    for i in range(count):
        candidate = np.int64(candidates[i])
        near = product(codes, weights, candidate, base, middle) - weights[candidate, HALF_SQUARE]
        at = i
        while at > 0 and nearness[at - 1] < near:
            nearness[at], candidates[at] = nearness[at - 1], candidates[at - 1]
            at -= 1
        nearness[at], candidates[at] = near, candidate


@compiled
def _tell(graph: Graph, node: int, newcomer: int, room: Room) -> None:
    links = graph.links
    count = links[node, 0]
    if among(newcomer, links[node, 1:], count):
        return
    if count < MOST_LINKS:
        publish(links, (node, count + 1), newcomer)
        publish(links, (node, 0), count + 1)
        return
    for k in range(count):
        room.candidates[k] = links[node, k + 1]
    room.candidates[count] = newcomer
    rank(graph, node, count + 1, room)
    relink(graph, node, count + 1, 0, MOST_LINKS, False, room)
