"""What a person chose before, as a part of what the person writes now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agents.asked import QueryVector, Slots, Vector, is_sum
from agents.calibrations import calibrations
from models.encoders.base import EncoderDescription
from state.live_index import LiveIndex
from state.personal import attention, personal_part, scales
from state.vector_rows import JOINT_KINDS, QueryArrays, ScoringPart, ScoringQuery
from streams.events.documents import VectorKind


class Personal:
    """Moves queries towards documents of one live index. Inside of `LiveIndex.reading`."""

    def __init__(
        self,
        index: LiveIndex,
        encoder: EncoderDescription,
        *,
        as_query: Callable[[Vector], Vector],
        weight: float,
        attend: Callable[[Vector], Vector] = attention,
    ) -> None:
        """`as_query`: document vectors (n, d) in the form of queries. `weight`: as `personal.weight`. `attend`: how
        much documents (n,) count by how well they fit (n,)."""
        self._index = index
        self._as_query = as_query
        self._weight = weight
        self._attend = attend
        self._means = {kind: _means(encoder, "image" if kind == "image" else "text") for kind in JOINT_KINDS}

    def moved(
        self,
        scoring: ScoringQuery,
        arrays: QueryArrays,
        vectors: Sequence[QueryVector],
        history: Sequence[str],
    ) -> tuple[ScoringQuery, list[str]]:
        """The query with this history, and which of its documents had a part: those that are in the index.

        Only what somebody wrote is moved, by at most the weight times its length, and only in queries that are a
        sum: what was chosen says little about "this, not that". What random pairs score moves along, so that
        documents of all kinds gain alike.
        """
        known = {name: slot for name in history if (slot := self._index.slot_of(name)) is not None}
        if not known or not self._weight or not is_sum(vectors) or not any(v.is_typed for v in vectors):
            return scoring, []
        slots = np.array(list(known.values()), dtype=np.int64)
        fits = (arrays.weights @ self._index.parts(arrays, slots)) / arrays.weights.sum()
        is_there = ~np.isnan(fits)
        slots, counts = slots[is_there], self._attend(fits[is_there])
        documents, means = self._as_query(self._index.fused(slots)), self._means_of(slots)
        parts = [
            self._part(part, documents, counts, means) if vector.is_typed else part
            for part, vector in zip(scoring.parts, vectors, strict=True)
        ]
        return ScoringQuery(parts), [name for name, there in zip(known, is_there, strict=True) if there]

    def _part(self, part: ScoringPart, documents: Vector, counts: Vector, means: Vector) -> ScoringPart:
        """A part of a query moved towards documents (n, d), whose products with random others are `means`."""
        more = personal_part(part.vector, documents, counts, weight=self._weight)
        shift = self._weight * (scales(part.vector, documents) * counts) @ means
        moved = {
            kind: replace(known, mean=known.mean + float(shift[JOINT_KINDS.index(kind)]))
            for kind, known in part.calibration.items()
        }
        return replace(part, vector=part.vector + more, calibration=moved)

    def _means_of(self, slots: Slots) -> Vector:
        """What the documents score with random vectors of each kind, (n, kinds)."""
        found: Vector = np.array(
            [
                np.mean([self._means[kind] for kind in self._index.kinds(slot)], axis=0)
                for slot in slots.tolist()
            ],
            dtype=np.float32,
        ).reshape(len(slots), len(JOINT_KINDS))
        return found


def _means(encoder: EncoderDescription, kind: VectorKind) -> list[float]:
    """By kind of document vector, the mean of its products with queries of a kind; 0 where it is not known."""
    known = calibrations(encoder, "image" if kind == "image" else "text")
    return [known[each].mean if each in known else 0.0 for each in JOINT_KINDS]
