"""Ids and scores to measure constrained decoding with. They have no meaning: speed depends on the shape alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL_SIZES = (16, 256, 4_096, 65_536)
# How uneven each level is: the r-th code of a node is drawn in proportion to r ** -exponent.
_EXPONENTS = (0.5, 0.5, 0.5, 0.0)


def made_ids(count: int, *, seed: int, level_sizes: tuple[int, ...] = LEVEL_SIZES) -> NDArray[np.int64]:
    """`count` different ids (count, depth) in random order, the levels uneven as Zipf says."""
    random = np.random.default_rng(seed)
    packed = np.empty(0, dtype=np.int64)
    while len(packed) < count:
        drawn = _drawn(random, count + count // 8, level_sizes)
        packed = np.unique(np.concatenate([packed, drawn]))
    return unpacked(random.permutation(packed)[:count], level_sizes)


def _drawn(random: np.random.Generator, count: int, level_sizes: tuple[int, ...]) -> NDArray[np.int64]:
    key = np.zeros(count, dtype=np.int64)
    for size, exponent in zip(level_sizes, _EXPONENTS, strict=True):
        weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
        bounds = np.cumsum(weights / weights.sum())
        bounds[-1] = 1.0
        key = key * size + np.searchsorted(bounds, random.random(count), side="right")
    return key


def packed(codes: NDArray[np.int64], level_sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Ids (n, depth) as one number each, in the order of the ids."""
    key = np.zeros(len(codes), dtype=np.int64)
    for level, size in enumerate(level_sizes):
        key = key * size + codes[:, level]
    return key


def unpacked(keys: NDArray[np.int64], level_sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """The inverse of `packed`."""
    codes = np.empty((len(keys), len(level_sizes)), dtype=np.int64)
    for level in range(len(level_sizes) - 1, -1, -1):
        keys, codes[:, level] = np.divmod(keys, level_sizes[level])
    return codes


def made_scores(
    queries: int, *, seed: int, level_sizes: tuple[int, ...] = LEVEL_SIZES
) -> tuple[NDArray[np.float32], ...]:
    """Log probabilities of `queries` queries, for each level (queries, codes of the level)."""
    random = np.random.default_rng(seed)
    tables = []
    for size in level_sizes:
        logits = random.standard_normal((queries, size), dtype=np.float32) * 2
        tables.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return tuple(tables)
