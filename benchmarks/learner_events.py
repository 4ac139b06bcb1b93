"""Impressions and feedback of many made-up sessions, as searchers and publishers would have written them.

Queries are asked by a power law and show ten of forty documents each; a fifth of the lists is ordered by chance
here and there, a tenth of the queries has an unknown word, and a twentieth rephrases the query before. Each list,
or every nth, has one click, at position k with probability in proportion to 1 / k.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson

from streams.clients import producer
from streams.events.assignments import StampedVector
from streams.events.impressions import Impression
from streams.settings import Settings

SHOWN = 10
USERS = 5_000
_DIMENSION = 512
_NEAR = 40
_ZIPF = 0.7
_WORDS, _REPHRASED, _SHUFFLED = 0.1, 0.05, 0.2
_POLL_EVERY = 1_000


@dataclass(frozen=True)
class Made:
    """What happened, in order: bodies by topic and key."""

    topic: str
    key: str
    body: bytes


@dataclass(frozen=True)
class Traffic:
    """Sessions of one query each, by chance from a seed. feedback_each: one click for so many lists."""

    impressions: int
    queries: int
    stamp: str
    feedback_each: int = 1
    seed: int = 0

    @property
    def events(self) -> int:
        return self.impressions + self.impressions // self.feedback_each

    def made(self) -> Iterator[Made]:
        """Impressions, each followed by its feedback, the times of which end now."""
        chance = np.random.default_rng(self.seed)
        rows = chance.normal(size=(self.queries, _DIMENSION)).astype(np.float32)
        vectors = [StampedVector.of(self.stamp, "fused", row).model_dump() for row in rows]
        asked = _power_law(self.queries, self.impressions, chance)
        clicked = _power_law(SHOWN, self.impressions, chance, exponent=1.0)
        began = time.time() - 1_000.0
        session = 0
        for number, (query, place) in enumerate(zip(asked.tolist(), clicked.tolist(), strict=True)):
            if number == 0 or chance.random() >= _REPHRASED:
                session = number
            at = began + 1_000.0 * number / self.impressions
            shown = query * _NEAR // 2 + chance.permutation(_NEAR)[:SHOWN]
            body = self._impression(number, query, shown.tolist(), session, chance, at)
            body["query_vector"] = vectors[query]
            query_id = body["query_id"]
            yield Made("impressions", query_id, orjson.dumps(body))
            if number % self.feedback_each == 0:
                given = {"query_id": query_id, "document_id": f"document-{shown[place]}", "action": "click"}
                yield Made("feedback", query_id, orjson.dumps(given))

    def _impression(
        self, number: int, query: int, shown: list[int], session: int, chance: np.random.Generator, at: float
    ) -> dict[str, object]:
        rephrases, shuffled = number != session, chance.random() < _SHUFFLED
        return {
            "query_id": f"query-{self.seed}-{number}",
            "user": f"{chance.integers(USERS):064x}",
            "session_id": f"session-{session}",
            "previous_query_id": f"query-{self.seed}-{number - 1}" if rephrases else None,
            "parts": [{"kind": "text", "weight": 1.0}],
            "shown": [
                {
                    "document_id": f"document-{thing}",
                    "position": position,
                    "score": 1 / position,
                    "propensity": 1 / position,
                }
                for position, thing in enumerate(shown, start=1)
            ],
            "shuffled": shuffled,
            "random_pairs": [1, 3, 5] if shuffled else [],
            "unknown_words": [f"{query:032x}"] if query % int(1 / _WORDS) == 0 else [],
            "models": [self.stamp],
            "mode": "auto",
            "took_ms": 20.0,
            "epoch": 1,
            "fresh_to": [{"partition": partition, "offset": number} for partition in range(2)],
            "at": datetime.fromtimestamp(at, UTC),
        }


def write(settings: Settings, traffic: Traffic) -> None:
    """Write all of it. The first impression is checked: the learner must take what is written here."""
    writer = producer(settings, **{"linger.ms": 50, "queue.buffering.max.messages": 20_000})
    for number, made in enumerate(traffic.made()):
        if number == 0:
            Impression.model_validate_json(made.body)
        while True:
            try:
                writer.produce(settings.topic(made.topic), key=made.key, value=made.body)
                break
            except BufferError:
                writer.poll(0.1)
        if number % _POLL_EVERY == 0:
            writer.poll(0)
    writer.flush()


def _power_law(
    count: int, draws: int, chance: np.random.Generator, exponent: float = _ZIPF
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    weights = 1 / np.arange(1, count + 1) ** exponent
    return chance.choice(count, size=draws, p=weights / weights.sum())
