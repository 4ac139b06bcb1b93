"""What a search gives, and what an old answer tells to the search that makes it again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.asked import QueryVector
from state.fusion import Path
from streams.events.queries import Hit, Unsure


class Relevance(NamedTuple):
    """The score of a hit before fine-ranking, and what words gave of it."""

    score: float
    lexical: float


@dataclass(frozen=True)
class Found:
    """What a search gives: hits, the path that found them, seconds by stage, and the vectors that it asked with."""

    hits: list[Hit]
    mode: Path
    epoch: int
    seconds: Mapping[str, float]
    vectors: Sequence[QueryVector]
    unknown_words: Sequence[str] = ()
    """Words of the query that stand in no document, as keyed hashes."""
    bundle: str | None = None
    """`<name>@<version>` of the bundle whose weights counted."""
    unsure: Unsure | None = None
    """What was done because the leaves that were opened looked wrong."""
    history: Sequence[str] = ()
    """Ids of the documents that the person chose before and that had a part in it."""
    low_confidence: bool = False
    """Whether its best hit scores like the worst of recent queries, or leaves looked wrong to the end."""
    relevances: Mapping[str, Relevance] = field(default_factory=dict)
    """By document id, of the hits."""


@dataclass(frozen=True)
class Told:
    """What an old answer tells of itself and this process cannot find out."""

    unsure: Unsure | None
    """How its leaves looked beside those of the queries before it."""
    unknown_words: Sequence[str] | None
    """Which of its words stood in no document, as keyed hashes; None: they are looked for."""
    at: float
    """When it was given, seconds since the epoch."""


@dataclass
class Stages:
    """Seconds by stage, from when it is made."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def done(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
