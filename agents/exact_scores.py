"""Exact scores of the documents that the paths of a search found; pictures by raw features where both have them."""

from __future__ import annotations

import numpy as np

from agents.asked import Asked, Candidates, Slots, Vector
from models.encoders.base import Calibration, EncoderDescription
from state.live_index import LiveIndex
from state.shard import Shard


class ExactScores:
    """Scores documents of one live index. Inside of `LiveIndex.reading`."""

    def __init__(
        self, index: LiveIndex, shard: Shard, encoder: EncoderDescription, *, shortlist: int
    ) -> None:
        """`shortlist`: so many of the best are compared by raw features."""
        self._index = index
        self._shard = shard
        self._raw = encoder.calibration.get("image>raw")
        self._shortlist = shortlist

    def of(self, asked: Asked, slots: Slots) -> Candidates:
        """The scores; documents that are gone by now are left out."""
        parts = self._index.parts(asked.arrays, slots)
        there = ~np.isnan(parts).any(axis=0)
        slots, parts = slots[there], parts[:, there]
        joint = asked.wanted(parts)
        personal = self._personal(asked, slots, joint)
        if self._raw is not None and any(vector.raw is not None for vector in asked.vectors):
            best = np.argsort(-joint, kind="stable")[: self._shortlist]
            parts[:, best] = self._by_raw(asked, slots[best], parts[:, best], self._raw)
        scores = asked.wanted(parts)
        return Candidates(slots, scores, scores - joint, asked.lost(parts), personal)

    def _personal(self, asked: Asked, slots: Slots, joint: Vector) -> Vector:
        """What of the scores (n,) of slots the history of the person brought; looked for where it is to be told."""
        if asked.without_history is None or not asked.query.explain:
            return np.zeros(len(slots), dtype=np.float32)
        without: Vector = asked.wanted(self._index.parts(asked.without_history, slots))
        personal: Vector = np.nan_to_num(joint - without)
        return personal

    def _by_raw(self, asked: Asked, slots: Slots, parts: Vector, calibration: Calibration) -> Vector:
        """The parts (p, n) with pictures compared with pictures by raw features, in place of the joint part."""
        exact = parts.copy()
        for number, vector in enumerate(asked.vectors):
            if vector.raw is None:
                continue
            for i, slot in enumerate(slots.tolist()):
                document_id = self._index.document_id(slot)
                best = None if document_id is None else self._raw_product(document_id, vector.raw)
                if best is not None:
                    exact[number, i] = (best - calibration.mean) / calibration.spread
        return exact

    def _raw_product(self, document_id: str, raw: Vector) -> float | None:
        rows = [v.array for v in self._shard.vectors(document_id) if v.kind == "raw"]
        return max((float(row.astype(np.float32) @ raw) for row in rows), default=None)
