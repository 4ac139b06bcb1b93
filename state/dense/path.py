"""What a dense path is, and the exact one: slow, plain and right."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class DensePath(Protocol):
    """Documents by their slots, each with one or more vectors; `DenseIndex` says what the methods promise."""

    def version(self, slot: int) -> int:
        """A number that changes with each `remove`."""
        ...

    def put(self, slot: int, vectors: Sequence[NDArray[np.float32]], *, identity: int, version: int) -> bool:
        """Hold vectors for a slot, unless it was removed since it had this version."""
        ...

    def remove(self, slot: int) -> None:
        """Answer a slot no more."""
        ...

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        expansion: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k documents with the largest inner products: slots and scores, best first."""
        ...

    def __len__(self) -> int:
        """How many documents can be answered."""
        ...


def check_vectors(vectors: Sequence[NDArray[np.float32]], dimension: int) -> None:
    """Raise ValueError unless all have the shape (dimension,)."""
    for vector in vectors:
        if vector.shape != (dimension,):
            raise ValueError(f"a vector has shape {vector.shape}, this index holds ({dimension},)")


class ExactScan:
    """Scores every vector as it is. For what is small, and to compare with."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._lock = threading.Lock()
        self._vectors: dict[int, NDArray[np.float32]] = {}
        self._versions: dict[int, int] = {}

    def __len__(self) -> int:
        """How many documents can be answered."""
        return len(self._vectors)

    def version(self, slot: int) -> int:
        """A number that changes with each `remove`."""
        return self._versions.get(slot, 0)

    def put(self, slot: int, vectors: Sequence[NDArray[np.float32]], *, identity: int, version: int) -> bool:
        """Hold vectors for a slot, unless it was removed since it had this version."""
        check_vectors(vectors, self.dimension)
        with self._lock:
            current = self.version(slot) == version
            if current:
                self._vectors.pop(slot, None)
                if len(vectors):
                    self._vectors[slot] = np.array(vectors, dtype=np.float32)
            return current

    def remove(self, slot: int) -> None:
        """Answer a slot no more."""
        with self._lock:
            self._versions[slot] = self.version(slot) + 1
            self._vectors.pop(slot, None)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        expansion: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k documents with the largest inner products: slots and scores, best first."""
        check_vectors([query], self.dimension)
        with self._lock:
            held = [
                (slot, vectors)
                for slot, vectors in self._vectors.items()
                if allowed is None or (slot < len(allowed) and allowed[slot])
            ]
        slots = np.array([slot for slot, _ in held], dtype=np.int64)
        scores = np.array([(vectors @ query).max() for _, vectors in held], dtype=np.float32)
        best = np.argsort(-scores, kind="stable")[:k]
        return slots[best], scores[best]
