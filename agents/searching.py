"""Answering one query from the live index: filter, find candidates by every path, score exactly, show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from agents.codebook_log import Codebooks
from models.decoder.decoder import Decoder
from models.encoders.base import EncoderDescription
from state.centroid_tree import Learned
from state.filters import parse_filter
from state.generative import GenerativePath, Probability
from state.live_index import LiveIndex, ScoredDocument, in_numbers
from state.shard import Shard
from state.vector_rows import Calibration, QueryArrays, ScoringPart, ScoringQuery
from streams.errors import DataError
from streams.events.documents import VectorKind
from streams.events.queries import Hit, Query, SearchMode
from streams.semantic_id import SemanticId
from streams.settings import SearchSettings, Settings

Vector = NDArray[np.float32]
Slots = NDArray[np.int64]
PartKind = Literal["text", "image"]
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
class _Asked:
    """A query made ready: its parts for the compiled functions, its direction in the tree, its limits."""

    query: Query
    vectors: Sequence[QueryVector]
    scoring: ScoringQuery
    arrays: QueryArrays
    direction: Vector
    allowed: BitMap | None
    mode: SearchMode
    epoch: int
    learned: Learned | None


@dataclass
class _Scored:
    """One candidate with what its score is made of."""

    document: ScoredDocument
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
    """Searches the live index of one process. Thread-safe; it never waits for the writer."""

    def __init__(
        self, settings: Settings, *, encoder: EncoderDescription, index: LiveIndex, shard: Shard
    ) -> None:
        self._settings: SearchSettings = settings.search
        self._exact_up_to = settings.index.exact_up_to
        self._encoder = encoder
        self._index = index
        self._shard = shard
        self._serving: Serving | None = None

    def use(self, serving: Serving | None) -> None:
        """Score with this decoder from the next query on; None: geometry alone."""
        self._serving = serving

    def search(self, query: Query, vectors: Sequence[QueryVector], codebooks: Codebooks) -> Found:
        """Answer a query whose parts are encoded. Raises DataError: `bad_filter`, `unsupported_mode`."""
        stages = _Stages()
        with self._index.reading():
            asked = self._asked(query, vectors, codebooks)
            path = self._index.active_path() if asked.mode == "generative" else None
            slots = self._generated(asked, path) if path is not None else self._exact(asked)
            stages.done("generate" if path is not None else "dense")
            scored = self._best(asked, slots)
            self._rerank(scored, asked)
            scored.sort(key=lambda s: (-s.score, s.document.document_id))
            stages.done("resolve")
            shown = scored[: query.top_k]
            probabilities = self._probabilities(asked, path, shown)
            hits = [
                self._hit(asked, each, position, probability)
                for position, (each, probability) in enumerate(
                    zip(shown, probabilities, strict=True), start=1
                )
            ]
        stages.done("fuse")
        return Found(hits, asked.mode, asked.epoch, stages.seconds)

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

    def _asked(self, query: Query, vectors: Sequence[QueryVector], codebooks: Codebooks) -> _Asked:
        checked = parse_filter(query.filter) if query.filter else None
        scoring = ScoringQuery([ScoringPart(v.vector, v.weight, self._calibrations(v.kind)) for v in vectors])
        epoch = self._index.active_epoch or 0
        weights = np.array([v.weight for v in vectors], dtype=np.float32)
        direction = weights @ np.stack([v.vector for v in vectors]) / np.abs(weights).sum()
        mode = self._mode(query.mode, has_tree=epoch in codebooks.trees)
        serving = self._serving if mode == "generative" else None
        allowed = self._index.passing(checked) if checked else None
        return _Asked(
            query=query,
            vectors=vectors,
            scoring=scoring,
            arrays=scoring.arrays(self._index.dimension),
            direction=direction,
            allowed=self._without_asked(query, allowed),
            mode=mode,
            epoch=epoch,
            learned=serving.learned(direction) if serving and serving.epoch == epoch else None,
        )

    def _mode(self, wanted: SearchMode, *, has_tree: bool) -> SearchMode:
        if wanted == "lexical":
            raise DataError("unsupported_mode", "lexical search is not there yet; use auto", field="mode")
        if wanted == "auto":
            wanted = "dense" if len(self._index) <= self._exact_up_to else "generative"
        # Below the first fitted tree there is nothing to generate: ids exist, meanings do not.
        return "dense" if wanted == "generative" and not has_tree else wanted

    def _without_asked(self, query: Query, allowed: BitMap | None) -> BitMap | None:
        """A document is not an answer to "like this document"."""
        asked = [part.document_id for part in query.parts if part.document_id is not None]
        own = [slot for slot in map(self._index.slot_of, asked) if slot is not None]
        if not own:
            return allowed
        return (self._index.every() if allowed is None else allowed) - BitMap(own)

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

    def _shortlist(self, asked: _Asked) -> int:
        return max(2 * asked.query.top_k, self._settings.shortlist)

    def _exact(self, asked: _Asked) -> Slots:
        """The best of all documents, or of those that the filter lets through."""
        among = None if asked.allowed is None else in_numbers(asked.allowed)
        slots, scores = self._index.score(asked.arrays, among)
        most = self._shortlist(asked)
        return slots if len(slots) <= most else slots[np.argpartition(-scores, most)[:most]]

    def _generated(self, asked: _Asked, path: GenerativePath) -> Slots:
        """The best of the leaves that the beam opens; few allowed documents are all scored instead."""
        if asked.allowed is not None and len(asked.allowed) <= self._exact_up_to:
            return self._exact(asked)
        found = path.search(
            self._index.rows_arrays,
            asked.arrays,
            asked.direction,
            leaves=self._settings.leaves,
            members=self._settings.members,
            shortlist=self._shortlist(asked),
            beam=self._settings.beam,
            allowed=None if asked.allowed is None else self._index.mask(asked.allowed),
            learned=asked.learned,
        )
        return found.slots

    def _best(self, asked: _Asked, slots: Slots) -> list[_Scored]:
        """Candidates with their exact scores; those that are gone by now are left out."""
        parts = self._index.parts(asked.arrays, slots)
        scores = asked.arrays.weights @ parts
        there = ~np.isnan(scores)
        most = max(asked.query.top_k, self._settings.shortlist)
        return [_Scored(document) for document in self._index.top(slots[there], scores[there], most)]

    def _rerank(self, scored: Sequence[_Scored], asked: _Asked) -> None:
        """Pictures are compared with pictures by raw features, in place of the joint vector's part."""
        calibration = self._encoder.calibration.get("image>raw")
        if calibration is None or not scored or all(v.raw is None for v in asked.vectors):
            return
        slots = np.array([s.document.slot for s in scored], dtype=np.int64)
        parts = self._index.parts(asked.arrays, slots)
        for number, query_vector in enumerate(asked.vectors):
            if query_vector.raw is None:
                continue
            for candidate, joint in zip(scored, parts[number].tolist(), strict=True):
                best = self._raw_product(candidate.document.document_id, query_vector.raw)
                if best is not None and not np.isnan(joint):
                    value = (best - calibration.mean) / calibration.spread
                    candidate.raw += query_vector.weight * (value - joint)

    def _raw_product(self, document_id: str, raw: Vector) -> float | None:
        rows = [v.array for v in self._shard.vectors(document_id) if v.kind == "raw"]
        return max((float(row.astype(np.float32) @ raw) for row in rows), default=None)

    def _probabilities(
        self, asked: _Asked, path: GenerativePath | None, shown: Sequence[_Scored]
    ) -> Sequence[Probability | None]:
        if path is None:
            return [None] * len(shown)
        slots = [each.document.slot for each in shown]
        return path.probabilities(
            self._index.rows_arrays, asked.arrays, asked.direction, slots, learned=asked.learned
        )

    def _hit(self, asked: _Asked, scored: _Scored, position: int, probability: Probability | None) -> Hit:
        document_id = scored.document.document_id
        packed = self._index.id_of(scored.document.slot, asked.epoch)
        stored = self._shard.document(document_id)
        parts = {asked.mode: scored.document.score} | ({"raw": scored.raw} if scored.raw else {})
        explain = asked.query.explain
        return Hit(
            document_id=document_id,
            semantic_id=None if packed is None else str(SemanticId.unpacked(packed)),
            score=scored.score,
            position=position,
            probability=None if probability is None else probability.product,
            parts=parts if explain else None,
            levels=_levels(probability) if explain and probability else None,
            title=stored.title if stored else None,
            fields=(stored.fields or None) if stored else None,
            tags=(list(stored.tags) or None) if stored else None,
            image=stored.image if stored else None,
        )


def _levels(probability: Probability) -> list[float]:
    return [probability.category, probability.subcategory, probability.leaf, probability.share]
