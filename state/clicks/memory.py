"""What clicks taught, as a searcher applies it: which documents were chosen for similar queries, for their words.

A document that was clicked more often than its positions explain gains, one that was passed over loses: the boost
is weight * ((clicks + prior * rate) / (expected + prior) - rate), the click rate shrunk to what is usual.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from state.readers import Readers, Retired
from state.vector_rows import ScoringPart, ScoringQuery, Vector, VectorRows
from streams.events.click_memory import (
    QUERY_PREFIX,
    SUMMARY_KEY,
    WORD_PREFIX,
    DocumentClicks,
    MemorySummary,
    RememberedClicks,
)

Floats = NDArray[np.float32]
Record = RememberedClicks | MemorySummary | None
_NOTHING = 1e-9
"""Clicks: what rounding leaves of a sum."""


class MemoryWeights(BaseModel):
    """How much the memory counts; goes into a bundle as JSON. Measured by `trieflow bench learning`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=0.4, ge=0)
    """Of what was learned from similar queries, in units of cosine."""
    neighbours: int = Field(default=10, ge=1)
    """So many similar queries are looked at."""
    similarity: float = Field(default=0.6, gt=-1, lt=1)
    """Queries count from this cosine on, less their mean, and at 1 in full."""
    prior: float = Field(default=3.0, gt=0)
    """Expected clicks that the usual rate is worth."""
    rate: float = Field(default=0.08, ge=0, lt=1)
    """The usual clicks for each that is expected."""
    word_weight: float = Field(default=1.0, ge=0)
    """The same for unknown words."""
    word_prior: float = Field(default=1.0, gt=0)
    word_share: float = Field(default=0.005, ge=0, le=1)
    """A word in a larger share of the queries says nothing..."""
    word_queries: int = Field(default=4, ge=0)
    """...when it is in more queries than these."""


@dataclass(frozen=True, slots=True)
class _Word:
    queries: int
    documents: Mapping[str, DocumentClicks]


class ClickMemory:
    """The memory of one searcher. One thread takes records in, any thread asks; readers take no lock."""

    def __init__(self, dimension: int, *, stamp: str, weights: MemoryWeights | None = None) -> None:
        self.weights = weights or MemoryWeights()
        self._dimension = dimension
        self._stamp = stamp
        self._writing = threading.Lock()
        self._readers = Readers()
        self._rows = VectorRows(dimension, readers=self._readers)
        self._centre = np.zeros(dimension, dtype=np.float32)
        self._queries = 0
        self._vectors: dict[int, Floats] = {}
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._given_up: Retired[int] = Retired(self._readers)
        self._documents: list[Mapping[str, DocumentClicks]] = []
        self._words: dict[str, _Word] = {}
        self._totals: dict[str, DocumentClicks] = {}

    def take(self, key: str, record: Record) -> None:
        """Take in the record of a key; None: it is forgotten. Vectors of another encoder are left out."""
        with self._writing:
            if key.startswith(WORD_PREFIX):
                self._take_word(key.removeprefix(WORD_PREFIX), record)
            elif key.startswith(QUERY_PREFIX):
                self._take_query(key, record)
            elif key == SUMMARY_KEY and isinstance(record, MemorySummary):
                self._take_summary(record)

    def boosts(self, vector: Floats, words: Sequence[str] = ()) -> dict[str, float]:
        """By document id, what it gains or loses for a query: vector (d,), and its words that are in no document.

        In units of cosine.
        """
        found = self._by_queries(vector)
        for word in dict.fromkeys(words):
            known = self._words.get(word)
            if known is not None and known.queries <= self._most_queries:
                for document_id, (clicks, expected) in known.documents.items():
                    boost = self._boost(clicks, expected, self.weights.word_prior)
                    found[document_id] = found.get(document_id, 0.0) + self.weights.word_weight * boost
        return found

    def totals(self, document_ids: Sequence[str | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Clicks and expected clicks of documents (n,), over all queries that are remembered."""
        found = [self._totals.get(name or "", (0.0, 0.0)) for name in document_ids]
        both = np.array(found, dtype=np.float64).reshape(len(found), 2)
        return both[:, 0], both[:, 1]

    def __len__(self) -> int:
        """How many queries and words are remembered."""
        return len(self._slots) + len(self._words)

    @property
    def _most_queries(self) -> float:
        return max(self.weights.word_queries, self.weights.word_share * self._queries)

    def _boost(self, clicks: float, expected: float, prior: float) -> float:
        rate = self.weights.rate
        return (clicks + prior * rate) / (expected + prior) - rate

    def _by_queries(self, vector: Floats) -> dict[str, float]:
        sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for documents, share in self._similar(vector):
            for document_id, (clicks, expected) in documents.items():
                both = sums[document_id]
                both[0] += share * clicks
                both[1] += share * expected
        weight, prior = self.weights.weight, self.weights.prior
        return {
            document_id: weight * self._boost(clicks, expected, prior)
            for document_id, (clicks, expected) in sums.items()
        }

    def _similar(self, vector: Floats) -> list[tuple[Mapping[str, DocumentClicks], float]]:
        """The most similar queries: what is remembered of each, and how much it counts."""
        least = self.weights.similarity
        direction = _unit(vector - self._centre)
        if not self._slots or direction is None:
            return []
        asked = ScoringQuery([ScoringPart(direction)]).arrays(self._dimension)
        with self._readers.reading():
            slots, cosines = self._rows.score(asked, None)
            near = np.flatnonzero(cosines > least)
            best = near[np.lexsort((slots[near], -cosines[near]))[: self.weights.neighbours]]
            return [
                (self._documents[slot], min(1.0, (cosine - least) / (1 - least)) ** 2)
                for slot, cosine in zip(slots[best].tolist(), cosines[best].tolist(), strict=True)
            ]

    def _take_word(self, word: str, record: Record) -> None:
        if isinstance(record, RememberedClicks):
            self._words[word] = _Word(record.queries, record.documents)
        else:
            self._words.pop(word, None)

    def _take_query(self, key: str, record: Record) -> None:
        slot = self._slots.get(key)
        if not isinstance(record, RememberedClicks) or record.vector is None:
            if slot is not None:
                self._forget(key, slot)
            return
        if record.vector.stamp != self._stamp:
            return
        self._count({} if slot is None else self._documents[slot], record.documents)
        if slot is None:
            slot = self._slots[key] = self._new_slot()
            self._vectors[slot] = record.vector.array().astype(np.float32)
            self._documents[slot] = record.documents
            self._put([slot])
        self._documents[slot] = record.documents

    def _count(self, before: Mapping[str, DocumentClicks], now: Mapping[str, DocumentClicks]) -> None:
        """Bring the totals of documents up to date. Sums of floats: what is left of nothing is nothing."""
        for document_id in before.keys() | now.keys():
            known, old, new = (each.get(document_id, (0.0, 0.0)) for each in (self._totals, before, now))
            clicks, expected = (max(0.0, k - o + n) for k, o, n in zip(known, old, new, strict=True))
            if max(clicks, expected) > _NOTHING:
                self._totals[document_id] = clicks, expected
            else:
                self._totals.pop(document_id, None)

    def _new_slot(self) -> int:
        self._free += self._given_up.free()
        if not self._free:
            self._free.append(len(self._documents))
            self._documents.append({})
        return self._free.pop()

    def _take_summary(self, summary: MemorySummary) -> None:
        self._queries = summary.queries
        centre = summary.centre.array().astype(np.float32)
        if summary.centre.stamp == self._stamp and not np.array_equal(centre, self._centre):
            self._centre = centre
            self._put(sorted(self._vectors))

    def _put(self, slots: Sequence[int]) -> None:
        directions = [_unit(self._vectors[slot] - self._centre) for slot in slots]
        rows: list[list[Vector]] = [[] if each is None else [("text", each)] for each in directions]
        self._rows.put(slots, rows)

    def _forget(self, key: str, slot: int) -> None:
        self._rows.drop([slot])
        self._count(self._documents[slot], {})
        del self._slots[key], self._vectors[slot]
        self._given_up.add(slot)


def _unit(vector: Floats) -> Floats | None:
    length = float(np.linalg.norm(vector))
    return (vector / np.float32(length)).astype(np.float32) if length > 1e-6 else None
