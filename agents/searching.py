"""Answering one query from the live index: filter, find candidates by every path, score exactly, show."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from agents.asked import (
    Alternative,
    Asked,
    PartKind,
    QueryVector,
    Serving,
    Slots,
    Vector,
    is_sum,
    summed,
    words_of,
)
from agents.calibrations import calibrations
from agents.codebook_log import Codebooks
from agents.confidence import Confidence
from agents.dense_path import DenseFeed
from agents.exact_scores import ExactScores
from agents.found import Found, Stages, Told
from agents.personal import Personal
from agents.showing import Fine, Showing
from models.encoders.base import EncoderDescription
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from state.bitmaps import bitmap_of_slots
from state.clicks.memory import ClickMemory
from state.combining import alternatives
from state.filters import parse_filter
from state.fusion import FusionWeights, Path, RankedList
from state.generative import Generated, GenerativePath
from state.lexical import LexicalIndex
from state.live_index import LiveIndex, in_numbers
from state.shard import Shard
from state.vector_rows import ScoringPart, ScoringQuery
from streams.errors import DataError
from streams.events.queries import Hit, Query, Unsure
from streams.settings import SearchSettings, Settings

THREADS_BESIDE = 8
"""Threads for the paths that are walked while the query is encoded, or its leaves are opened."""
_BEST = 10
"""Hits whose worst says whether the leaves look right."""
_NO_SLOTS: Slots = np.empty(0, dtype=np.int64)
_NO_SCORES: Vector = np.empty(0, dtype=np.float32)


class Searching:
    """Searches the live index of one process. Thread-safe; it never waits for the writer."""

    def __init__(
        self,
        settings: Settings,
        *,
        encoder: EncoderDescription,
        index: LiveIndex,
        shard: Shard,
        lexical: LexicalIndex,
        dense: DenseFeed,
        memory: ClickMemory,
        hash_word: Callable[[str], str],
        as_query: Callable[[Vector], Vector],
    ) -> None:
        """`hash_word`: how a word is called in the memory. `as_query`: of the encoder."""
        self._settings: SearchSettings = settings.search
        self._by_seeds = settings.search.generation == "seeds"
        self._exact_up_to = settings.index.exact_up_to
        self._encoder = encoder
        self._index = index
        self._shard = shard
        self._lexical = lexical
        self._dense = dense
        self._memory = memory
        self._hash_word = hash_word
        self._showing = Showing(index, shard, memory)
        self._scores = ExactScores(index, shard, encoder, shortlist=settings.search.shortlist)
        self._personal = Personal(index, encoder, as_query=as_query, weight=settings.personal.weight)
        self._fusing: tuple[FusionWeights, str | None] = (FusionWeights(), None)
        self._beside = ThreadPoolExecutor(THREADS_BESIDE, thread_name_prefix="search-beside")
        self._serving: Serving | None = None
        self._confidence = Confidence(self._settings.unsure_share)
        self._best_scores = Confidence(self._settings.low_confidence_share)

    def use(self, serving: Serving | None) -> None:
        """Score with this decoder from the next query on; None: geometry alone."""
        self._serving = serving

    def fuse_by(self, weights: FusionWeights, *, bundle: str | None = None) -> None:
        """Fuse what the paths find by these weights, which are those of `bundle`, from the next query on."""
        self._fusing = weights, bundle

    def search(
        self,
        query: Query,
        encoded: Callable[[], Sequence[QueryVector]],
        codebooks: Codebooks,
        *,
        ranker: Ranker = NOTHING_LEARNED,
        history: Sequence[str] = (),
        told: Told | None = None,
    ) -> Found:
        """Answer a query that was checked. `encoded` waits for its parts; meanwhile its words are looked for.

        Encoding had better be under way: it leaves the interpreter to others at once, and words do not. The ranker
        moves what somebody wrote, and so does the history, ids of documents that the person chose; the click memory
        knows queries as they were encoded. `told`: to make an old answer again.
        """
        at = time.time() if told is None else told.at
        stages = Stages()
        with self._index.reading():
            allowed = self._allowed(query)
            words = self._beside.submit(self._by_words, query, allowed)
            vectors = encoded()
            stages.done("encode")
            weights, bundle = self._fusing
            asked = self._asked(query, vectors, codebooks, allowed, ranker, history)
            path = self._index.path_of(asked.epoch) if asked.path == "generative" else None
            slots, unsure = self._by_vectors(asked, path, told)
            stages.done("generate" if path is not None else "dense")
            lexical, unknown = words.result()
            if told is not None and told.unknown_words is not None:
                unknown = list(told.unknown_words)
            stages.done("lexical")
            remembered = self._remembered(asked, unknown)
            slots = np.union1d(np.union1d(slots, lexical.slots), _gaining(remembered))
            lexical = self._less_left_out(asked, lexical, slots)
            found = self._scores.of(asked, slots)
            stages.done("resolve")
            fine = Fine(ranker.ranking, at)
            shown = self._showing.shown(asked, path, found, lexical, weights, remembered, fine)
        stages.done("fuse")
        is_low = unsure == "graph" or (told is None and self._scores_low(asked, shown.hits))
        return Found(
            hits=shown.hits,
            mode=asked.path,
            epoch=asked.epoch,
            seconds=stages.seconds,
            vectors=vectors,
            unknown_words=unknown,
            bundle=bundle,
            unsure=unsure,
            low_confidence=is_low,
            history=asked.history,
            relevances=shown.relevances,
        )

    def check(self, query: Query) -> None:
        """What can be said before anything is encoded. Raises DataError `bad_filter`, `schema`."""
        if query.filter:
            parse_filter(query.filter)
        if query.mode == "lexical" and not words_of(query):
            raise DataError("schema", "mode lexical needs a part with a text", field="mode")

    def behind(self) -> dict[str, int]:
        """By path, changes that it has not taken in yet; only those that are behind."""
        behind = {"lexical": self._lexical.behind, "dense": self._dense.behind}
        return {path: count for path, count in behind.items() if count}

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

    def _asked(
        self,
        query: Query,
        vectors: Sequence[QueryVector],
        codebooks: Codebooks,
        allowed: BitMap | None,
        ranker: Ranker,
        history: Sequence[str],
    ) -> Asked:
        moved = [ranker.moved(v.vector) if v.is_typed else v.vector for v in vectors]
        path = self._path(query, codebooks)
        scoring = ScoringQuery(
            [
                ScoringPart(vector, v.weight, calibrations(self._encoder, v.kind))
                for v, vector in zip(vectors, moved, strict=True)
            ]
        )
        plain = arrays = scoring.arrays(self._index.dimension)
        counted: list[str] = []
        if history and path != "lexical":
            scoring, counted = self._personal.moved(scoring, plain, vectors, history)
            arrays = scoring.arrays(self._index.dimension)
        epoch = self._index.active_epoch or 0
        learns = path == "generative" and self._settings.generation != "geometry"
        serving = self._serving if learns else None
        learned = serving.learned if serving and serving.epoch == epoch else None
        rows = alternatives(arrays.weights, [v.role for v in vectors])
        directions = (
            rows @ np.stack([part.vector for part in scoring.parts]) / np.abs(rows).sum(axis=1, keepdims=True)
        )
        return Asked(
            query=query,
            vectors=vectors,
            arrays=arrays,
            alternatives=[
                Alternative(arrays._replace(weights=row), direction, learned and learned(direction))
                for row, direction in zip(rows, directions, strict=True)
            ],
            allowed=allowed,
            path=path,
            epoch=epoch,
            history=counted,
            without_history=plain if counted else None,
        )

    def _path(self, query: Query, codebooks: Codebooks) -> Path:
        has_tree = (self._index.active_epoch or 0) in codebooks.trees
        wanted = query.mode
        if wanted == "lexical":
            return "lexical"
        walks = wanted == "generative" or (wanted == "auto" and len(self._index) > self._exact_up_to)
        # Below the first fitted tree there is nothing to generate: ids exist, meanings do not.
        return "generative" if walks and has_tree else "dense"

    def _allowed(self, query: Query) -> BitMap | None:
        """What the filter lets through; None: all. A document is not an answer to "like this document"."""
        allowed = self._index.passing(parse_filter(query.filter)) if query.filter else None
        asked = [part.document_id for part in query.parts if part.document_id is not None]
        own = [slot for slot in map(self._index.slot_of, asked) if slot is not None]
        if not own:
            return allowed
        return (self._index.every() if allowed is None else allowed) - BitMap(own)

    def _shortlist(self, query: Query) -> int:
        return max(2 * query.top_k, self._settings.shortlist)

    def _by_words(self, query: Query, allowed: BitMap | None) -> tuple[RankedList, list[str]]:
        """What the words of the query find, and keyed hashes of those that stand nowhere.

        Nothing is found for pictures, and in modes that name another path.
        """
        text = words_of(query)
        unknown = list(map(self._hash_word, self._lexical.unknown_words(text) if text else ()))
        if not text or query.mode not in ("auto", "lexical"):
            return RankedList("lexical", _NO_SLOTS, _NO_SCORES), unknown
        slots, scores = self._lexical.search(text, self._shortlist(query), allowed=allowed)
        return RankedList("lexical", slots, scores), unknown

    def _remembered(self, asked: Asked, unknown: Sequence[str]) -> dict[int, float]:
        """By slot, what a document gains or loses by clicks on it, in units of the vector scores.

        Only for queries that are a sum: what was clicked for "this, not that" says little about either.
        """
        if asked.path == "lexical" or not is_sum(asked.vectors):
            return {}
        boosts = self._memory.boosts(summed(asked.vectors), unknown)
        if not boosts:
            return {}
        scale = 1.0 / float(asked.arrays.spreads.min())
        slots = {
            slot: boost * scale
            for name, boost in boosts.items()
            if (slot := self._index.slot_of(name)) is not None
        }
        return {
            slot: boost for slot, boost in slots.items() if asked.allowed is None or slot in asked.allowed
        }

    def _less_left_out(self, asked: Asked, found: RankedList, candidates: Slots) -> RankedList:
        """Less what the words of `not` parts score: who has them all loses what words can bring."""
        left_out = [part for part in asked.query.parts if part.role == "not" and part.text and part.weight]
        if not left_out or not len(candidates) or asked.query.mode not in ("auto", "lexical"):
            return found
        scores = dict(zip(found.slots.tolist(), found.scores.tolist(), strict=True))
        allowed = bitmap_of_slots(candidates)
        for part in left_out:
            slots, losses = self._lexical.search(str(part.text), len(candidates), allowed=allowed)
            for slot, loss in zip(slots.tolist(), losses.tolist(), strict=True):
                scores[slot] = scores.get(slot, 0.0) - part.weight * loss
        best_first = sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))
        slots = np.array([slot for slot, _ in best_first], dtype=np.int64)
        return RankedList("lexical", slots, np.array([score for _, score in best_first], dtype=np.float32))

    def _by_vectors(
        self, asked: Asked, path: GenerativePath | None, told: Told | None
    ) -> tuple[Slots, Unsure | None]:
        if asked.path == "lexical":
            return _NO_SLOTS, None
        few = asked.allowed is not None and len(asked.allowed) <= self._exact_up_to
        if few or (path is None and len(self._index) <= self._exact_up_to):
            return self._exact(asked), None
        allowed = None if asked.allowed is None else self._index.mask(asked.allowed)
        joins = asked.query.mode == "auto"
        if path is None:
            near = self._near(asked, allowed)
            return self._exact(asked) if near is None else near, None
        beside = self._beside.submit(self._near, asked, allowed) if joins or self._by_seeds else None
        seeds = beside.result() if beside and self._by_seeds else None
        generated = [self._opened(asked, each, path, allowed, seeds=seeds) for each in asked.alternatives]
        near = beside.result() if beside else None
        if near is None:
            return self._made_sure(asked, path, allowed, generated, told)
        found = [near if joins else _NO_SLOTS, *(each.slots for each in generated)]
        return np.unique(np.concatenate(found)), None

    def _exact(self, asked: Asked) -> Slots:
        """The best of all documents, or of those that the filter lets through, by each alternative."""
        among = None if asked.allowed is None else in_numbers(asked.allowed)
        most = self._shortlist(asked.query)
        found = []
        for each in asked.alternatives:
            slots, scores = self._index.score(each.arrays, among)
            found.append(slots if len(slots) <= most else slots[np.argpartition(-scores, most)[:most]])
        return np.unique(np.concatenate(found))

    def _near(self, asked: Asked, allowed: NDArray[np.bool_] | None) -> Slots | None:
        """What the graph finds near the direction of each alternative; None while it cannot answer."""
        most = self._shortlist(asked.query)
        near = [self._dense.search(each.direction, most, allowed=allowed) for each in asked.alternatives]
        found = [slots for slots in near if slots is not None]
        return np.unique(np.concatenate(found)) if len(found) == len(near) else None

    def _opened(
        self,
        asked: Asked,
        alternative: Alternative,
        path: GenerativePath,
        allowed: NDArray[np.bool_] | None,
        *,
        seeds: Slots | None = None,
        skip: int = 0,
    ) -> Generated:
        """The best of the leaves that the beam opens behind `skip`; with seeds, of those that hold one of them."""
        return path.search(
            self._index.rows_arrays,
            alternative.arrays,
            alternative.direction,
            leaves=self._settings.leaves,
            members=self._settings.members,
            shortlist=self._shortlist(asked.query),
            beam=self._settings.beam,
            allowed=allowed,
            learned=alternative.learned,
            seeds=seeds,
            skip=skip,
        )

    def _made_sure(
        self,
        asked: Asked,
        path: GenerativePath,
        allowed: NDArray[np.bool_] | None,
        generated: Sequence[Generated],
        told: Told | None,
    ) -> tuple[Slots, Unsure | None]:
        """What was generated; twice as many leaves where they look wrong; where they still do, the graph too."""
        kind = (frozenset(vector.kind for vector in asked.vectors), allowed is None)
        slots = [each.slots for each in generated]
        unsure: Unsure | None = None
        for alternative, first in zip(asked.alternatives, generated, strict=True):
            margin = self._margin(alternative, [first])
            if not (told.unsure if told else self._confidence.is_low(margin, kind=kind)):
                continue
            more = self._opened(asked, alternative, path, allowed, skip=first.opened)
            slots.append(more.slots)
            margin = self._margin(alternative, [first, more])
            is_still_low = (
                told.unsure == "graph" if told else self._confidence.is_still_low(margin, kind=kind)
            )
            unsure = "graph" if is_still_low or unsure == "graph" else "leaves"
        near = self._near(asked, allowed) if unsure == "graph" else None
        return np.unique(np.concatenate(slots if near is None else [*slots, near])), unsure

    def _scores_low(self, asked: Asked, hits: Sequence[Hit]) -> bool:
        """Whether the best hit scores like those of the worst recent queries of this kind."""
        kind = (asked.query.mode, frozenset(vector.kind for vector in asked.vectors), asked.allowed is None)
        return bool(hits) and asked.query.learn and self._best_scores.is_low(hits[0].score, kind=kind)

    def _margin(self, alternative: Alternative, opened: Sequence[Generated]) -> float:
        """By how much the worst of the best hits is nearer to the query than the best leaf that is not opened."""
        if opened[-1].unopened == -np.inf:
            return np.inf
        scores = np.concatenate([each.scores for each in opened])
        best = np.concatenate([each.slots for each in opened])[np.argsort(-scores, kind="stable")[:_BEST]]
        products = self._index.fused(best) @ alternative.direction
        return float(products.min()) - opened[-1].unopened if len(best) else -np.inf


def _gaining(remembered: Mapping[int, float]) -> Slots:
    """Slots of the documents that clicks speak for."""
    return np.array([slot for slot, boost in remembered.items() if boost > 0], dtype=np.int64)
