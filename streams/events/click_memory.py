"""`click-memory`: what clicks taught so far, as searchers apply it. Each record is the full state of its key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streams.events.assignments import StampedVector
from streams.events.base import Event

QUERY_PREFIX, WORD_PREFIX = "query/", "word/"
SUMMARY_KEY = "summary"

DocumentClicks = Annotated[
    tuple[float, float],
    Field(description="Clicks, and expected clicks: the sum of the probabilities that it was looked at."),
]


class RememberedClicks(Event):
    """Clicks on the documents that were shown for one query, or for queries with one word.

    Key: `query/<hash of the vector>` or `word/<keyed hash of the word>`. A null value: it is forgotten.
    """

    vector: StampedVector | None = None
    """Of a query: its vector. None for a word."""
    queries: int = 1
    """Of a word: in how many of the remembered queries it stands."""
    documents: dict[str, DocumentClicks]
    """By document id."""


class MemorySummary(Event):
    """What holds for the whole memory. Key: `summary`."""

    queries: int
    """How many queries are remembered."""
    centre: StampedVector
    """The mean of their vectors; queries are compared by their difference from it."""
    examination: list[float]
    """The probability that a position is looked at, from position 1 on."""
    exponent: float
    """The same as a law: 1 / position ** exponent."""


def word_key(word: str) -> str:
    """The key of what is remembered of a word."""
    return WORD_PREFIX + word
