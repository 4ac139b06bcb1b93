"""A query made ready for the search: its parts for the compiled functions, its alternatives, its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from models.decoder.decoder import Decoder
from state.combining import left_out, wanted
from state.fusion import Path
from state.routing import Learned
from state.vector_rows import QueryArrays
from streams.events.queries import PartRole, Query

Vector = NDArray[np.float32]
Slots = NDArray[np.int64]
PartKind = Literal["text", "image"]


@dataclass(frozen=True)
class QueryVector:
    """An encoded part of a query: vector (d,), raw picture features (r,) or None, signed weight, role.

    is_typed: whether it is a text that somebody wrote; a stored document is not.
    """

    kind: PartKind
    vector: Vector
    raw: Vector | None
    weight: float
    role: PartRole = "and"
    is_typed: bool = False


def summed(vectors: Sequence[QueryVector]) -> Vector:
    """The vector (d,) that stands for a query: the weighted sum of its parts, without those of the role `not`."""
    wanted: Vector = np.sum([v.weight * v.vector for v in vectors if v.role != "not"], axis=0)
    return wanted


def is_sum(vectors: Sequence[QueryVector]) -> bool:
    """Whether a query is a plain sum of what is asked for."""
    return all(v.role == "and" and v.weight >= 0 for v in vectors)


def words_of(query: Query) -> str:
    """The texts of a query that are asked for."""
    wanted = (part for part in query.parts if part.weight > 0 and part.role != "not")
    return " ".join(part.text for part in wanted if part.text is not None)


@dataclass(frozen=True)
class Serving:
    """A decoder whose nodes the live index has taken in, and the weight that it counts with now."""

    reference: str
    epoch: int
    decoder: Decoder
    weight: float

    def learned(self, direction: Vector) -> Learned:
        """Its view of a query (d,)."""
        return Learned(
            self.decoder.heads(direction[None, :]), self.weight, self.decoder.description.sharpness
        )


@dataclass(frozen=True)
class Alternative:
    """A plain sum of parts by which candidates are looked for: its weights, its direction (d,) in the tree."""

    arrays: QueryArrays
    direction: Vector
    learned: Learned | None


@dataclass(frozen=True)
class Asked:
    """A query made ready: its parts for the compiled functions, its alternatives (one or more), its limits.

    history: documents that moved it. without_history: its parts as they were before, None where nothing moved it.
    """

    query: Query
    vectors: Sequence[QueryVector]
    arrays: QueryArrays
    alternatives: Sequence[Alternative]
    allowed: BitMap | None
    path: Path
    epoch: int
    history: Sequence[str] = ()
    without_history: QueryArrays | None = None

    def wanted(self, parts: Vector) -> Vector:
        """Scores (n,) from those of the parts (p, n)."""
        return wanted(parts, self.arrays.weights, self._roles)

    def lost(self, parts: Vector) -> Vector:
        """What `not` takes away (n,), from scores of the parts (p, n)."""
        return left_out(parts, self.arrays.weights, self._roles)

    @property
    def _roles(self) -> list[PartRole]:
        return [vector.role for vector in self.vectors]


@dataclass(frozen=True)
class Candidates:
    """Documents that any path found: slots (n,), ascending, and of each (n,) its exact vector score, what raw
    features changed in it, what `not` takes away, and, where it is to be explained, what of it is personal."""

    slots: Slots
    scores: Vector
    raw: Vector
    lost: Vector
    personal: Vector
