"""Vectors in memory, one row each, chained by document slot; and the compiled scoring of slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from state.compiled import compiled
from streams.events.documents import VectorKind

Vector = tuple[VectorKind, NDArray[np.float32]]
JOINT_KINDS: tuple[VectorKind, ...] = ("image", "text", "passage", "fused")
"""Kinds that lie in the space of queries. `raw` features are compared elsewhere."""
_KIND_NUMBERS = {kind: number for number, kind in enumerate(JOINT_KINDS)}
_NO_ROW = -1
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean and spread of the inner products of random pairs."""

    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class ScoringPart:
    """A signed part of a query: vector (d,), weight, and by kind of document vector its calibration."""

    vector: NDArray[np.float32]
    weight: float = 1.0
    calibration: Mapping[VectorKind, Calibration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoringQuery:
    """A document scores the sum over parts of weight * max over its rows of (product - mean) / spread."""

    parts: Sequence[ScoringPart]

    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """Vectors (p, d), weights (p,), means (p, kinds), spreads (p, kinds)."""
        known = [[part.calibration.get(kind, Calibration()) for kind in JOINT_KINDS] for part in self.parts]
        return (
            np.ascontiguousarray([part.vector for part in self.parts], dtype=np.float32),
            np.array([part.weight for part in self.parts], dtype=np.float32),
            np.array([[each.mean for each in row] for row in known], dtype=np.float32),
            np.array([[each.spread for each in row] for row in known], dtype=np.float32),
        )


class VectorRows:
    """Rows of vectors of `dimension`, f32. One writer; callers hold the lock of the live index."""

    def __init__(self, dimension: int, *, capacity: int = 1024) -> None:
        self.dimension = dimension
        self._vectors = np.empty((capacity, dimension), dtype=np.float32)
        self._kinds = np.zeros(capacity, dtype=np.int8)
        self._next = np.full(capacity, _NO_ROW, dtype=np.int32)
        self._first = np.full(capacity, _NO_ROW, dtype=np.int32)
        self._used = 0
        self._free: list[int] = []

    def put(self, slot: int, vectors: Sequence[Vector]) -> None:
        """Hold these vectors for a slot in place of what it had.

        `raw` is left out, and `fused` too when there is another: it would only be scored without one.
        Raises ValueError when one has another dimension; the slot then keeps what it had.
        """
        joint = [(kind, vector) for kind, vector in vectors if kind in _KIND_NUMBERS]
        kept = [(kind, vector) for kind, vector in joint if kind != "fused"] or joint
        for _, vector in kept:
            if vector.shape != (self.dimension,):
                raise ValueError(f"a vector has shape {vector.shape}, this index holds ({self.dimension},)")
        self.drop(slot)
        for kind, vector in kept:
            self._add(slot, _KIND_NUMBERS[kind], vector)

    def drop(self, slot: int) -> None:
        """Free the rows of a slot."""
        if slot >= len(self._first):
            return
        row = int(self._first[slot])
        self._first[slot] = _NO_ROW
        while row != _NO_ROW:
            self._free.append(row)
            row = int(self._next[row])

    def score(
        self, query: ScoringQuery, slots: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score these slots, or all; returns slots that have a row, and their scores."""
        if slots is None:
            slots = np.flatnonzero(self._first != _NO_ROW)
        else:
            slots = slots[slots < len(self._first)]
            slots = slots[self._first[slots] != _NO_ROW]
        vectors, weights, means, spreads = query.arrays()
        if vectors.shape[1:] != (self.dimension,):
            raise ValueError(f"a query vector has not {self.dimension} numbers")
        scores = _score_slots(
            self._vectors, self._kinds, self._next, self._first, slots, vectors, weights, means, spreads
        )
        return slots, scores

    def __len__(self) -> int:
        """How many rows are in use."""
        return self._used - len(self._free)

    def _add(self, slot: int, kind: int, vector: NDArray[np.float32]) -> None:
        if slot >= len(self._first):
            self._first = _grown(self._first, slot + 1, _NO_ROW)
        row = self._free.pop() if self._free else self._new_row()
        self._vectors[row] = vector
        self._kinds[row] = kind
        self._next[row] = self._first[slot]
        self._first[slot] = row

    def _new_row(self) -> int:
        row = self._used
        if row == len(self._kinds):
            self._vectors = _grown(self._vectors, row + 1, 0)
            self._kinds = _grown(self._kinds, row + 1, 0)
            self._next = _grown(self._next, row + 1, _NO_ROW)
        self._used += 1
        return row


def _grown(array: NDArray[T], at_least: int, fill: int) -> NDArray[T]:
    size = max(at_least, 2 * len(array))
    larger = np.full((size, *array.shape[1:]), fill, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def _score_slots(
    rows: NDArray[np.float32],
    kinds: NDArray[np.int8],
    following: NDArray[np.int32],
    first: NDArray[np.int32],
    slots: NDArray[np.int64],
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    means: NDArray[np.float32],
    spreads: NDArray[np.float32],
) -> NDArray[np.float32]:
    parts, dimension = vectors.shape
    scores = np.zeros(len(slots), dtype=np.float32)
    best = np.empty(parts, dtype=np.float32)
    for i in range(len(slots)):
        best[:] = -np.inf
        row = first[slots[i]]
        while row != -1:
            kind = kinds[row]
            for part in range(parts):
                product = np.float32(0.0)
                for j in range(dimension):
                    product += rows[row, j] * vectors[part, j]
                best[part] = max(best[part], (product - means[part, kind]) / spreads[part, kind])
            row = following[row]
        for part in range(parts):
            scores[i] += weights[part] * best[part]
    return scores
