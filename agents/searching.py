"""Answering one query from the live index: filter, choose leaves, score exactly, rerank pictures, show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from agents.codebook_log import Codebooks
from models.codebooks import Codebook
from models.encoders.base import EncoderDescription
from state.beam import FoundLeaves, LevelCentroids, by_geometry, constrained_beam
from state.filters import parse_filter
from state.live_index import LiveIndex, ScoredDocument
from state.shard import Shard
from state.vector_rows import Calibration, ScoringPart, ScoringQuery
from streams.errors import DataError
from streams.events.documents import VectorKind
from streams.events.queries import Hit, Query, SearchMode
from streams.semantic_id import CLUSTER_BITS, INSTANCE_BITS, SUBCATEGORY_BITS, SemanticId
from streams.settings import SearchSettings, Settings

Vector = NDArray[np.float32]
PartKind = Literal["text", "image"]
_LEVEL_BITS = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)
_DOCUMENT_KINDS: tuple[VectorKind, ...] = ("image", "text", "passage", "fused")


@dataclass(frozen=True)
class QueryVector:
    """An encoded part of a query: vector (d,), raw picture features (r,) or None, signed weight."""

    kind: PartKind
    vector: Vector
    raw: Vector | None
    weight: float


@dataclass(frozen=True)
class Found:
    """What a search gives: hits, the path that found them, and seconds by stage."""

    hits: list[Hit]
    mode: SearchMode
    epoch: int
    seconds: Mapping[str, float]


@dataclass
class _Scored:
    """One candidate with what its score is made of."""

    document: ScoredDocument
    semantic_id: str | None
    leaf: int | None
    raw: float = 0.0

    @property
    def score(self) -> float:
        return self.document.score + self.raw


@dataclass
class _Stages:
    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


class Searching:
    """Searches the live index of one process. Thread-safe; the index is held still while it scores."""

    def __init__(
        self, settings: Settings, *, encoder: EncoderDescription, index: LiveIndex, shard: Shard
    ) -> None:
        self._settings: SearchSettings = settings.search
        self._exact_up_to = settings.index.exact_up_to
        self._encoder = encoder
        self._index = index
        self._shard = shard
        self._levels: tuple[int, tuple[LevelCentroids, ...]] = (-1, ())

    def search(self, query: Query, vectors: Sequence[QueryVector], codebooks: Codebooks) -> Found:
        """Answer a query whose parts are encoded. Raises DataError: `bad_filter`, `unsupported_mode`."""
        checked = parse_filter(query.filter) if query.filter else None
        scoring = self._scoring(vectors)
        stages = _Stages()
        with self._index.reading():
            epoch = self._index.active_epoch or 0
            tree = codebooks.trees.get(epoch)
            mode = self._mode(query.mode, tree)
            allowed = self._index.passing(checked) if checked else None
            allowed = self._without_asked(query, allowed)
            leaves = self._leaves(vectors, tree) if mode == "generative" and tree else None
            slots = self._index.trie().slots(leaves.leaves) if leaves else None
            stages.done("generate")
            scored = self._best(query, scoring, allowed=allowed, slots=slots, epoch=epoch)
            self._rerank(scored, vectors, scoring)
        stages.done("resolve" if leaves else "dense")
        scored.sort(key=lambda s: (-s.score, s.document.document_id))
        hits = [
            self._hit(s, position, mode=mode, explain=query.explain, leaves=leaves)
            for position, s in enumerate(scored[: query.top_k], start=1)
        ]
        stages.done("fuse")
        return Found(hits, mode, epoch, stages.seconds)

    def like(self, document_id: str) -> tuple[PartKind, Vector, Vector | None]:
        """Kind, vector and raw features of a stored document. Raises DataError `unknown_document`."""
        stored = {v.kind: v.array.astype(np.float32) for v in self._shard.vectors(document_id)}
        if not stored:
            raise DataError("unknown_document", f"there is no document {document_id[:200]!r} to be like")
        for document_kind, kind in (
            ("image", "image"),
            ("text", "text"),
            ("passage", "text"),
            ("fused", "text"),
        ):
            if document_kind in stored:
                part: PartKind = "image" if kind == "image" else "text"
                return part, stored[document_kind], stored.get("raw") if part == "image" else None
        raise DataError("unknown_document", f"document {document_id[:200]!r} has no vector to compare")

    def _mode(self, wanted: SearchMode, tree: Codebook | None) -> SearchMode:
        if wanted == "lexical":
            raise DataError("unsupported_mode", "lexical search is not there yet; use auto", field="mode")
        if wanted == "auto":
            wanted = "dense" if len(self._index) <= self._exact_up_to else "generative"
        # Below the first fitted tree there is nothing to generate: ids exist, meanings do not.
        return "dense" if wanted == "generative" and tree is None else wanted

    def _without_asked(self, query: Query, allowed: BitMap | None) -> BitMap | None:
        """A document is not an answer to "like this document"."""
        asked = [part.document_id for part in query.parts if part.document_id is not None]
        own = [slot for slot in map(self._index.slot_of, asked) if slot is not None]
        if not own:
            return allowed
        return (self._index.every() if allowed is None else allowed) - BitMap(own)

    def _scoring(self, vectors: Sequence[QueryVector]) -> ScoringQuery:
        return ScoringQuery([ScoringPart(v.vector, v.weight, self._calibrations(v.kind)) for v in vectors])

    def _calibrations(self, kind: PartKind) -> dict[VectorKind, Calibration]:
        known = self._encoder.calibration
        names = {
            "image": f"{kind}>image",
            "text": f"{kind}>text",
            "passage": f"{kind}>text",
            "fused": f"{kind}>{kind}",
        }
        return {
            document_kind: Calibration(known[name].mean, known[name].spread)
            for document_kind in _DOCUMENT_KINDS
            if (name := names[document_kind]) in known
        }

    def _leaves(self, vectors: Sequence[QueryVector], tree: Codebook) -> FoundLeaves:
        direction = np.stack([v.weight * v.vector for v in vectors]).sum(axis=0)
        direction /= max(float(np.linalg.norm(direction)), 1e-9)
        beam, leaves = self._settings.beam, self._settings.leaves
        scorer = by_geometry(self._centroids(tree), direction)
        return constrained_beam(self._index.trie(), scorer, beam=beam, leaves=leaves)

    def _centroids(self, tree: Codebook) -> tuple[LevelCentroids, ...]:
        if self._levels[0] != tree.epoch:
            levels = tuple(LevelCentroids(*tree.level(bits)) for bits in _LEVEL_BITS)
            self._levels = (tree.epoch, levels)
        return self._levels[1]

    def _best(
        self,
        query: Query,
        scoring: ScoringQuery,
        *,
        allowed: BitMap | None,
        slots: NDArray[np.int64] | None,
        epoch: int,
    ) -> list[_Scored]:
        found, scores = self._index.score(scoring, allowed=allowed, slots=slots)
        best = self._index.top(found, scores, max(query.top_k, self._settings.shortlist))
        scored = []
        for document in best:
            live = self._index.in_slot(document.slot)
            packed = live.ids.get(epoch) if live is not None else None
            text = None if packed is None else str(SemanticId.unpacked(packed))
            scored.append(_Scored(document, text, None if packed is None else packed >> INSTANCE_BITS))
        return scored

    def _rerank(
        self, scored: Sequence[_Scored], vectors: Sequence[QueryVector], scoring: ScoringQuery
    ) -> None:
        """Pictures are compared with pictures by raw features, in place of the joint vector's part."""
        calibration = self._encoder.calibration.get("image>raw")
        if calibration is None or not scored:
            return
        for part, query_vector in zip(scoring.parts, vectors, strict=True):
            if query_vector.raw is None:
                continue
            slots = np.array([s.document.slot for s in scored], dtype=np.int64)
            found, scores = self._index.score(ScoringQuery([part]), slots=slots)
            joint: dict[int, float] = dict(zip(found.tolist(), scores.tolist(), strict=True))
            for candidate in scored:
                best = self._raw_product(candidate.document.document_id, query_vector.raw)
                if best is not None:
                    value = part.weight * (best - calibration.mean) / calibration.spread
                    candidate.raw += value - joint.get(candidate.document.slot, 0.0)

    def _raw_product(self, document_id: str, raw: Vector) -> float | None:
        rows = [v.array for v in self._shard.vectors(document_id) if v.kind == "raw"]
        return max((float(row.astype(np.float32) @ raw) for row in rows), default=None)

    def _hit(
        self, scored: _Scored, position: int, *, mode: SearchMode, explain: bool, leaves: FoundLeaves | None
    ) -> Hit:
        document_id = scored.document.document_id
        stored = self._shard.document(document_id)
        parts = (
            {mode: scored.document.score} | ({"raw": scored.raw} if scored.raw else {}) if explain else None
        )
        return Hit(
            document_id=document_id,
            semantic_id=scored.semantic_id,
            score=scored.score,
            position=position,
            parts=parts,
            levels=_levels(scored.leaf, leaves) if explain else None,
            title=stored.title if stored else None,
            fields=(stored.fields or None) if stored else None,
            tags=(list(stored.tags) or None) if stored else None,
            image=stored.image if stored else None,
        )


def _levels(leaf: int | None, leaves: FoundLeaves | None) -> list[float] | None:
    """What each level of the beam added for a leaf; None off the generative path."""
    if leaves is None or leaf is None:
        return None
    row = np.flatnonzero(leaves.leaves == leaf)
    return [float(value) for value in leaves.levels[row[0]]] if len(row) else None
