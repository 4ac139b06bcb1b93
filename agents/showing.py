"""From what the paths of a search found to the hits of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.asked import Asked, Candidates, Slots, Vector
from agents.found import Relevance
from models.ranking.weights import Ranking, Signal, Signals
from state.clicks.memory import ClickMemory
from state.fusion import Fused, FusionWeights, Path, RankedList, fuse
from state.generative import GenerativePath, Probability
from state.live_index import LiveIndex, ScoredDocument
from state.shard import Shard, StoredDocument
from streams.events.queries import Hit
from streams.semantic_id import SemanticId


@dataclass(frozen=True)
class Fine:
    """Fine-ranking of one answer: its weights, and when it is given, seconds since the epoch."""

    ranking: Ranking
    at: float


@dataclass(frozen=True)
class Listed:
    """Hits, and by document id what they would score without fine-ranking."""

    hits: list[Hit]
    relevances: dict[str, Relevance]


class Showing:
    """Fuses candidates of one live index and reads what is shown of the best. Inside of `LiveIndex.reading`."""

    def __init__(self, index: LiveIndex, shard: Shard, memory: ClickMemory) -> None:
        self._index = index
        self._shard = shard
        self._memory = memory

    def shown(
        self,
        asked: Asked,
        path: GenerativePath | None,
        found: Candidates,
        lexical: RankedList,
        weights: FusionWeights,
        remembered: Mapping[int, float],
        fine: Fine,
    ) -> Listed:
        """The best by what all paths say together, clicks (by slot) and fine-ranking, less what `not` takes away.

        That is not fused: a fusion makes little of differences far from the top, and with them of the penalty.
        """
        order = np.argsort(-found.scores, kind="stable")
        near = RankedList(asked.path, found.slots[order], found.scores[order])
        fused = fuse([lexical] if asked.path == "lexical" else [lexical, near], weights, len(found.slots))
        raw, lost, personal = (
            _by_slot(found, values, asked) for values in (found.raw, found.lost, found.personal)
        )
        slots = fused.slots.tolist()
        gained = self._gained(fused, fine)
        scores = fused.scores + [remembered.get(slot, 0.0) - lost.get(slot, 0.0) for slot in slots]
        scores = sum(gained.values(), scores)
        shown = self._index.top(fused.slots, scores.astype(np.float32), asked.query.top_k)
        probabilities = self._probabilities(
            asked, path, np.array([document.slot for document in shown], dtype=np.int64)
        )
        stored = self._shard.documents_named([document.document_id for document in shown])
        rows = {slot: row for row, slot in enumerate(slots)}
        listed = Listed([], {})
        for document, probability, content in zip(shown, probabilities, stored, strict=True):
            parts = _parts(
                fused,
                rows[document.slot],
                asked.path,
                raw=raw.get(document.slot, 0.0),
                lost=lost.get(document.slot, 0.0),
                remembered=remembered.get(document.slot, 0.0),
                personal=personal.get(document.slot, 0.0),
            )
            listed.relevances[document.document_id] = Relevance(
                sum(parts.values()), parts.get("lexical", 0.0)
            )
            parts |= {name: float(values[rows[document.slot]]) for name, values in gained.items()}
            position = len(listed.hits) + 1
            listed.hits.append(
                self._hit(
                    asked, document, position=position, parts=parts, probability=probability, stored=content
                )
            )
        return listed

    def _gained(self, fused: Fused, fine: Fine) -> dict[Signal, NDArray[np.float64]]:
        """What each signal that has a weight adds to each of the fused (n,)."""
        ranking, slots = fine.ranking, fused.slots
        if not ranking.weights:
            return {}
        none = np.zeros(len(slots))
        clicks, expected = none, none
        if ranking.click_rate is not None:
            clicks, expected = self._memory.totals([self._index.document_id(slot) for slot in slots.tolist()])
        known = Signals(
            numbers={field: self._index.numbers(field, slots) for field in ranking.fields},
            clicks=clicks,
            expected=expected,
            lexical=fused.parts.get("lexical", none),
        )
        return ranking.parts(known, at=fine.at)

    def _probabilities(
        self, asked: Asked, path: GenerativePath | None, slots: Slots
    ) -> Sequence[Probability | None]:
        """What the model says of the hits; of several alternatives, the one that says most."""
        if path is None:
            return [None] * len(slots)
        rows = self._index.rows_arrays
        said = [
            path.probabilities(rows, each.arrays, each.direction, slots, learned=each.learned)
            for each in asked.alternatives
        ]
        return [max(filter(None, of_hit), key=_product, default=None) for of_hit in zip(*said, strict=True)]

    def _hit(
        self,
        asked: Asked,
        document: ScoredDocument,
        *,
        position: int,
        parts: dict[str, float],
        probability: Probability | None,
        stored: StoredDocument | None,
    ) -> Hit:
        packed = self._index.id_of(document.slot, asked.epoch)
        explain = asked.query.explain
        return Hit(
            document_id=document.document_id,
            semantic_id=None if packed is None else str(SemanticId.unpacked(packed)),
            score=sum(parts.values()),
            position=position,
            probability=None if probability is None else probability.product,
            parts=parts if explain else None,
            levels=_levels(probability) if explain and probability else None,
            title=stored.title if stored else None,
            fields=(stored.fields or None) if stored else None,
            tags=(list(stored.tags) or None) if stored else None,
            image=stored.image if stored else None,
        )


def _by_slot(found: Candidates, values: Vector, asked: Asked) -> dict[int, float]:
    """Values of candidates by slot; none where vectors do not count."""
    counts = asked.path != "lexical" and values.any()
    return dict(zip(found.slots.tolist(), values.tolist(), strict=True)) if counts else {}


def _parts(
    fused: Fused, row: int, path: Path, *, raw: float, lost: float, remembered: float, personal: float
) -> dict[str, float]:
    """What each path gave to a document; raw features, clicks, what `not` takes away, and what the person chose
    before have parts of their own."""
    parts: dict[str, float] = {name: float(values[row]) for name, values in fused.parts.items()}
    for name, value in (("raw", raw), ("personal", personal)):
        if value:
            parts[path] = parts.get(path, 0.0) - value
            parts[name] = value
    if lost:
        parts["not"] = -lost
    if remembered:
        parts["click_memory"] = remembered
    return parts


def _product(probability: Probability) -> float:
    return probability.product


def _levels(probability: Probability) -> list[float]:
    return [probability.category, probability.subcategory, probability.leaf, probability.share]
