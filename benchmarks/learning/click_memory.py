"""A click memory from a log of answers, by the classes of learner and searchers, without Kafka between them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.learning.exact_system import Answer
from benchmarks.learning.people import document_id, things_of
from benchmarks.learning.world import Floats, World
from state.clicks.ledger import Ledger
from state.clicks.memory import ClickMemory
from state.clicks.shard import ClickShard
from state.lexical import LexicalDocument, LexicalIndex
from streams.events.assignments import StampedVector
from streams.events.click_memory import SUMMARY_KEY
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_FLUSH_S = 120.0
Words = Sequence[Sequence[str]]


def unknown_words(world: World, texts: Sequence[str]) -> list[list[str]]:
    """Of each text its words that stand in no document."""
    documents = [
        LexicalDocument(document_id(thing), thing, tags=world.things.known_words(thing))
        for thing in range(len(world.vectors))
    ]
    with tempfile.TemporaryDirectory() as folder:
        index = LexicalIndex(Path(folder) / "lexical")
        try:
            index.apply(documents, positions={0: 1})
            if not index.flush(timeout_s=_FLUSH_S):
                raise TimeoutError("the lexical index was not written in time")
            return [index.unknown_words(text) for text in texts]
        finally:
            index.close()


def learn(
    answers: Sequence[Answer], vectors: Floats, words: Words, settings: LearningSettings, *, stamp: str
) -> tuple[ClickMemory, float]:
    """The memory of these answers and their clicks, and the exponent of examination that they show.

    vectors (texts, d) and words: of the texts.
    """
    memory = ClickMemory(vectors.shape[1], stamp=stamp)
    with tempfile.TemporaryDirectory() as folder:
        shard = ClickShard(Path(folder) / "clicks", settings, cluster="none", stamp=stamp)
        try:
            for at in range(0, len(answers), settings.batch):
                ledger = shard.ledger()
                for number, answer in enumerate(answers[at : at + settings.batch], start=at):
                    _take(ledger, answer, number, vectors[answer.text], words[answer.text], stamp)
                ledger.tidy()
                _tell(ledger, memory)
                shard.write(ledger, applied={})
            return memory, shard.state.exponent
        finally:
            shard.close()


def _take(
    ledger: Ledger, answer: Answer, number: int, vector: Floats, words: Sequence[str], stamp: str
) -> None:
    at = _BEGIN + timedelta(seconds=number)
    impression = Impression.model_validate(
        {
            "query_id": answer.query_id,
            "user": answer.user,
            "session_id": str(answer.session),
            "previous_query_id": answer.previous,
            "parts": [],
            "query_vector": StampedVector.of(stamp, "fused", vector),
            "shown": [
                {"document_id": document_id(thing), "position": place, "score": 0.0, "propensity": 1 / place}
                for place, thing in enumerate(answer.shown.tolist(), start=1)
            ],
            "shuffled": bool(answer.uppers),
            "random_pairs": list(answer.uppers),
            "unknown_words": list(words),
            "models": [stamp],
            "epoch": 0,
            "fresh_to": [],
            "at": at,
        }
    )
    ledger.shown(answer.query_id, impression)
    for place in answer.clicked:
        given = Feedback(
            query_id=answer.query_id, document_id=document_id(int(answer.shown[place])), action="click"
        )
        ledger.given(answer.query_id, given, at.timestamp() + 1)


def _tell(ledger: Ledger, memory: ClickMemory) -> None:
    """What the learner writes to `click-memory` for a batch."""
    if not ledger.state.accepted:
        return
    for key, known in ledger.touched.items():
        if known is None or known.documents:
            memory.take(key, None if known is None else known.event())
    memory.take(SUMMARY_KEY, ledger.summary())


def boosts(memory: ClickMemory, vectors: Floats, words: Words, things: int) -> Floats:
    """What each thing gains or loses for each text, (texts, things)."""
    gained = np.zeros((len(vectors), things), dtype=np.float32)
    for row, (vector, unknown) in enumerate(zip(vectors, words, strict=True)):
        found = memory.boosts(vector, unknown)
        gained[row, things_of(list(found))] = list(found.values())
    return gained
