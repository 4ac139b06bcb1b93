"""The beam over the tree as simply as it can be written: what faster ones are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoder.decoder import Decoder
from models.decoder.levels import BITS_BELOW

Centroids = Mapping[tuple[int, int], NDArray[np.float32]]
"""(level, packed prefix) -> centroid (d,). A node may have none: it scores as the node above it."""


class Reached(NamedTuple):
    """A node that the beam keeps. score = geometry + weight · log_p, with log p of the whole path."""

    prefix: int
    geometry: float
    log_p: float
    score: float


def beam_twin(
    query: NDArray[np.float32],
    *,
    live: Iterable[int],
    centroids: Centroids,
    decoder: Decoder | None = None,
    weight: float = 0.0,
    sharpness: float = 20.0,
    beam: int,
    leaves: int,
) -> list[Reached]:
    """The best `leaves` of the live packed leaves, keeping all categories and the best `beam` subcategories.

    log p of a child: log-softmax of the decoder's logits among those live siblings that it knows. A child that it
    does not know gets log-softmax of sharpness · geometry among all live siblings, and the known ones share what
    such children leave them, so that the probabilities of siblings sum to 1.
    """
    heads = decoder.heads(query[None, :])[0] if decoder else None
    kept = [Reached(0, 0.0, 0.0, 0.0)]
    live = set(live)
    for level, width in enumerate((len(live), beam, leaves)):
        found = []
        for parent in kept:
            children = _children(live, level, parent.prefix)
            geometry = [
                _geometry(query, centroids.get((level, child)), parent.geometry) for child in children
            ]
            logs = [0.0] * len(children)
            if decoder is not None and heads is not None:
                logs = _shares(_logits(decoder, level, children, heads[level]), geometry, sharpness)
            for child, by_geometry, log in zip(children, geometry, logs, strict=True):
                log_p = parent.log_p + log
                found.append(Reached(child, by_geometry, log_p, by_geometry + weight * log_p))
        kept = sorted(found, key=lambda node: (-node.score, node.prefix))[:width]
    return kept


def _children(live: set[int], level: int, parent: int) -> list[int]:
    above = BITS_BELOW[level - 1] if level else 64
    below = {leaf >> BITS_BELOW[level] for leaf in live if leaf >> above == parent}
    return sorted(below)


def _geometry(query: NDArray[np.float32], centroid: NDArray[np.float32] | None, above: float) -> float:
    return above if centroid is None else float(query @ centroid)


def _logits(
    decoder: Decoder, level: int, children: list[int], head: NDArray[np.float32]
) -> list[float | None]:
    nodes = decoder.nodes(level)
    rows = {int(prefix): row for row, prefix in enumerate(nodes.prefixes)}
    return [
        float(nodes.embeddings[rows[child]] @ head + nodes.biases[rows[child]]) if child in rows else None
        for child in children
    ]


def _shares(logits: list[float | None], geometry: list[float], sharpness: float) -> list[float]:
    by_geometry = _log_softmax([sharpness * number for number in geometry])
    learned = iter(_log_softmax([logit for logit in logits if logit is not None]))
    known = [log for log, logit in zip(by_geometry, logits, strict=True) if logit is not None]
    left = math.log(sum(math.exp(log) for log in known)) if known else 0.0
    return [
        log if logit is None else next(learned) + left for log, logit in zip(by_geometry, logits, strict=True)
    ]


def _log_softmax(numbers: list[float]) -> list[float]:
    peak = max(numbers, default=0.0)
    total = math.log(sum(math.exp(number - peak) for number in numbers)) if numbers else 0.0
    return [number - peak - total for number in numbers]
