"""Taking removed nodes out of the graph, list by list, while walks go on.

A list that names removed nodes keeps the others, and fills up from what the removed ones name, pruned as for
a new node (after FreshDiskANN: Singh and others, 2021). Pruning what stayed as well would thin the graph out
with every removal. When each list has had its turn, those of newly removed nodes too, nothing leads to the
nodes that left, and they are used again: no second graph is ever built.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.compiled import compiled
from state.dense.graph import HIDDEN, LEAVING, Graph, Landmarks
from state.dense.linking import MOST_CANDIDATES, Room, rank, relink, settle
from state.dense.nibbles import decode
from state.dense.walking import Scratch, mark, unmark

_FEW_LINKS = 4


@compiled
def mend(
    graph: Graph,
    landmarks: Landmarks,
    first: int,
    last: int,
    expansion: int,
    scratch: Scratch,
    room: Room,
) -> None:
    """Let the lists of nodes `first` to `last` - 1 name no removed node.

    A node that is left with very few links, because all around it was removed, finds new neighbours.
    """
    links, slots, chosen = graph.links, graph.slots, room.chosen
    for node in range(first, last):
        kept = 0
        for k in range(1, links[node, 0] + 1):
            if slots[links[node, k]] >= HIDDEN:
                chosen[kept] = links[node, k]
                kept += 1
        if slots[node] == LEAVING or kept == links[node, 0]:
            continue
        count = _gather(graph, node, kept, room, scratch.visited)
        rank(graph, node, count, room)
        relink(graph, node, count, kept, links[node, 0], True, room)
        if links[node, 0] < _FEW_LINKS and slots[node] >= HIDDEN:
            numbers = np.empty((2, graph.codes.shape[1]), dtype=np.float32)
            decode(graph.codes, graph.weights, node, numbers)
            settle(graph, landmarks, node, numbers, expansion, scratch, room)


@compiled
def _gather(graph: Graph, node: int, kept: int, room: Room, visited: NDArray[np.uint8]) -> int:
    """Candidates: what the removed neighbours of `node` link to, each once, without itself and the kept."""
    links, slots, candidates = graph.links, graph.slots, room.candidates
    mark(visited, room.chosen, kept)
    count = 0
    for k in range(1, links[node, 0] + 1):
        removed = links[node, k]
        if slots[removed] >= HIDDEN:
            continue
        for m in range(1, links[removed, 0] + 1):
            other = links[removed, m]
            bit = np.uint8(1 << (other & 7))
            if slots[other] < HIDDEN or other == node or visited[other >> 3] & bit:
                continue
            if count < MOST_CANDIDATES:
                visited[other >> 3] |= bit
                candidates[count] = other
                count += 1
    unmark(visited, candidates, count)
    unmark(visited, room.chosen, kept)
    return count
