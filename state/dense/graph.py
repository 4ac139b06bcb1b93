"""The arrays of a graph of near neighbours.

One flat layer of pruned links: the ground layer of HNSW (Malkov and Yashunin, 2018). The layers above it
buy nothing at hundreds of dimensions (Munyampirwa, Lakshman and Coleman, 2024): a walk starts at the nearest
of about sqrt(n) landmarks, copies of random rows that lie side by side.

One thread writes, any number of threads walk, and none of them locks. A walker may meet a list of links that
is half written, but every number in it is a node whose row was whole before it was named (each is published
on its own, the count last), and a node is answered only while its slot says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH = 64
"""Numbers of a row of links (256 bytes): how many there are, then the linked nodes."""
MOST_LINKS = WIDTH - 1
HIDDEN, REMOVED, LEAVING = -1, -2, -3
"""In place of a slot: not answered (yet), removed, removed and being unlinked. The last two get no new links."""
MOST_LANDMARKS = 4096


class Graph(NamedTuple):
    """Row i of each array belongs to node i."""

    codes: NDArray[np.uint8]  # (capacity, half)
    weights: NDArray[np.float32]  # (capacity, 2)
    links: NDArray[np.int32]  # (capacity, WIDTH)
    slots: NDArray[np.int32]  # (capacity,) the document, or HIDDEN, REMOVED, LEAVING


class Landmarks(NamedTuple):
    """Where walks start: nodes with copies of their rows; HIDDEN from the first place that is free."""

    nodes: NDArray[np.int32]  # (MOST_LANDMARKS,)
    codes: NDArray[np.uint8]  # (MOST_LANDMARKS, half)
    weights: NDArray[np.float32]  # (MOST_LANDMARKS, 2)


def new_graph(capacity: int, half: int) -> Graph:
    """An empty graph. Memory is taken when it is first written to."""
    return Graph(
        codes=np.zeros((capacity, half), dtype=np.uint8),
        weights=np.zeros((capacity, 2), dtype=np.float32),
        links=np.zeros((capacity, WIDTH), dtype=np.int32),
        slots=np.full(capacity, HIDDEN, dtype=np.int32),
    )


def new_landmarks(half: int) -> Landmarks:
    """None yet."""
    return Landmarks(
        nodes=np.full(MOST_LANDMARKS, HIDDEN, dtype=np.int32),
        codes=np.zeros((MOST_LANDMARKS, half), dtype=np.uint8),
        weights=np.zeros((MOST_LANDMARKS, 2), dtype=np.float32),
    )
