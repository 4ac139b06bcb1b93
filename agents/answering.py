"""One answer: which model gives it, and where chance has a part in the order of its hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from agents.arms import Arms, ServedAdapter
from agents.asked import QueryVector
from agents.asks import Ask
from agents.click_log import ClickLog
from agents.codebook_log import Codebooks
from agents.exploring import explores, shuffled
from agents.model_log import ModelLog
from agents.searching import Found, Searching
from streams.errors import DataError
from streams.events.impressions import Arm
from streams.settings import Settings

log = structlog.get_logger()

Encoded = Callable[[], Sequence[QueryVector]]


@dataclass(frozen=True)
class Answered:
    """What was found, by which models (`name@version`, the encoder's stamp first), in which arm of a rollout.

    random_pairs: upper positions of the pairs that chance ordered. memory_offset: how far `click-memory` was read.
    """

    found: Found
    models: list[str]
    arm: Arm
    random_pairs: Sequence[int]
    memory_offset: int


class Answering:
    """Searches as the rollout of a session wants it. Thread-safe."""

    def __init__(
        self, settings: Settings, *, searching: Searching, models: ModelLog, clicks: ClickLog, stamp: str
    ) -> None:
        self._shuffled_share = settings.learning.shuffled_share
        self._searching = searching
        self._models = models
        self._clicks = clicks
        self._stamp = stamp

    def answer(self, ask: Ask, encoded: Encoded, codebooks: Codebooks) -> Answered:
        """Answer a query that was checked. Raises DataError."""
        arms, offset = self._models.arms, self._clicks.offset
        session = ask.query.session_id or ask.query_id
        if ask.query.learn and arms.tries(session):
            found, served, arm = self._tried(ask, encoded, codebooks, arms)
        else:
            found, served, arm = self._found(ask, encoded, codebooks, arms.active), arms.active, "active"
        found, random_pairs = self._explored(ask, found, session)
        return Answered(found, self._names(served), arm, random_pairs, offset)

    def _tried(
        self, ask: Ask, encoded: Encoded, codebooks: Codebooks, arms: Arms
    ) -> tuple[Found, ServedAdapter | None, Arm]:
        """By the candidate. Where it fails, what serves answers, and the impression says so."""
        try:
            return self._found(ask, encoded, codebooks, arms.candidate), arms.candidate, "candidate"
        except DataError:
            raise
        except Exception as error:
            log.error("a candidate failed; the active model answers", query_id=ask.query_id, exc_info=error)
        return self._found(ask, encoded, codebooks, arms.active), arms.active, "fallback"

    def _found(self, ask: Ask, encoded: Encoded, codebooks: Codebooks, served: ServedAdapter | None) -> Found:
        adapter = None if served is None else served.adapter
        return self._searching.search(ask.query, encoded, codebooks, adapter=adapter)

    def _explored(self, ask: Ask, found: Found, session: str) -> tuple[Found, list[int]]:
        """What was found, as chance orders it in some sessions once clicks come; and the pairs that it ordered."""
        is_early = not len(self._clicks.memory)
        if is_early or not ask.query.learn or not explores(session, self._shuffled_share):
            return found, []
        hits, random_pairs = shuffled(found.hits, ask.query_id)
        return replace(found, hits=hits), random_pairs

    def _names(self, served: ServedAdapter | None) -> list[str]:
        bundle = self._models.current
        names = [self._stamp, bundle and bundle.manifest.reference, served and served.reference]
        return [name for name in names if name]
