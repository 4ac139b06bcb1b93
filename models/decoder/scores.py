"""The arithmetic of the decoder over a whole tree, in plain arrays: for tuning and for measuring.

Serving does not come here: the beam scores children of live nodes only, and gives the same numbers where it goes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.decoder.decoder import Nodes
from models.decoder.levels import Codes, Floats, Level, level_centroids, rows_of, tree_levels

KnownNodes = Callable[[int], Nodes]
"""`Decoder.nodes`: the nodes of a level that have an embedding."""


def path_log_probabilities(
    queries: Floats,
    heads: Floats,
    nodes: KnownNodes,
    *,
    leaves: Codes,
    centroids: Floats,
    sharpness: float,
) -> list[Floats]:
    """log p of each node's whole path, one (n, m) a level.

    queries (n, d), heads (n, 3, h), the live leaves (L,) in ascending order with centroids (L, d).

    Known siblings share by the decoder. A node that it does not know takes its share by geometry: the softmax of
    sharpness · query · centroid over all its siblings; the known ones share what is left, so a level sums to 1.
    """
    levels = tree_levels(leaves)
    found: list[Floats] = []
    above = np.zeros((len(queries), 1), dtype=np.float32)
    for number, (level, middle) in enumerate(
        zip(levels, level_centroids(levels, leaves, centroids), strict=True)
    ):
        rows = rows_of(level.prefixes, nodes(number).prefixes)
        learned = np.full((len(queries), len(rows)), -np.inf, dtype=np.float32)
        known = rows >= 0
        _, embeddings, biases = nodes(number)
        learned[:, known] = heads[:, number] @ embeddings[rows[known]].T + biases[rows[known]]
        if known.all():
            shares = sibling_log_softmax(learned, level)
        else:
            shares = _with_younger(learned, sharpness * (queries @ middle.T), known, level)
        above = above[:, level.parents] + shares
        found.append(above)
    return found


def sibling_log_softmax(logits: Floats, level: Level) -> Floats:
    """Logits (n, m) -> log-softmax among siblings. -inf stays -inf, also where all siblings are."""
    return logits - _sibling_log_sum(logits, level)


def _with_younger(learned: Floats, geometry: Floats, known: np.ndarray, level: Level) -> Floats:
    by_geometry = sibling_log_softmax(geometry, level)
    left = _sibling_log_sum(np.where(known, by_geometry, -np.inf), level)
    return np.where(known, sibling_log_softmax(learned, level) + left, by_geometry)


def _sibling_log_sum(logits: Floats, level: Level) -> Floats:
    """log of the sum of exp among siblings, at each of them: (n, m). Zero where all are -inf."""
    first = level.starts[:-1]
    peak = np.maximum.reduceat(logits, first, axis=1)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    sums = np.add.reduceat(np.exp(logits - peak[:, level.parents]), first, axis=1)
    total = np.where(sums > 0, peak + np.log(np.maximum(sums, np.finfo(np.float32).tiny)), 0.0)
    return np.asarray(total[:, level.parents], dtype=np.float32)
