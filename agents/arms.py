"""By what a query is ranked: by what serves, or in some sessions by its candidate."""

from __future__ import annotations

from dataclasses import dataclass

from agents.places import place_of
from models.ranking.ranker import Ranker


@dataclass(frozen=True)
class ServedAdapter:
    """What a training learned, and its `name@version`."""

    reference: str
    ranker: Ranker


@dataclass(frozen=True)
class Arms:
    """What serves, None for queries as they are encoded; and a candidate with the share of sessions that try it."""

    active: ServedAdapter | None = None
    candidate: ServedAdapter | None = None
    share: float = 0.0
    interleaved: bool = False

    def tries(self, session: str) -> bool:
        """Whether the candidate takes part in the answers of a session: always or never, for a growing share."""
        return self.candidate is not None and place_of(session, "arms") < self.share
