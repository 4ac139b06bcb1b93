"""One answer: which model gives it, and where chance or two models have a part in the order of its hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from agents.arms import Arms, ServedAdapter
from agents.asked import QueryVector
from agents.asks import Ask
from agents.click_log import ClickLog
from agents.codebook_log import Codebooks
from agents.exploring import explores, shuffled
from agents.found import Found
from agents.model_log import ModelLog
from agents.searching import Searching
from models.gates.interleaving import Team, chance_of, team_draft
from models.ranking.ranker import NOTHING_LEARNED
from streams.errors import DataError
from streams.events.impressions import Arm
from streams.events.queries import Query
from streams.settings import Settings

log = structlog.get_logger()

Encoded = Callable[[], Sequence[QueryVector]]


@dataclass(frozen=True)
class Answered:
    """What was found, by which models (`name@version`, the encoder's stamp first), in which arm of a rollout.

    random_pairs: upper positions of the pairs that chance ordered. teams: of interleaved lists, who brought what.
    """

    found: Found
    models: list[str]
    arm: Arm = "active"
    random_pairs: Sequence[int] = ()
    teams: Sequence[Team | None] = ()


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

    def answer(
        self, ask: Ask, encoded: Encoded, codebooks: Codebooks, *, history: Sequence[str] = ()
    ) -> Answered:
        """Answer a query that was checked. `history`: documents that the person chose before. Raises DataError."""
        arms, session = self._models.arms, ask.query.session_id or ask.query_id
        search = partial(self._by, ask.query, codebooks=codebooks, history=history)
        tried = self._tried(ask, search, encoded, arms) if ask.query.learn and arms.tries(session) else None
        if tried is not None and tried.teams:
            return tried
        answered = tried or search(encoded, served=arms.active, arm="active")
        return self._explored(ask, answered, session)

    def _tried(self, ask: Ask, search: Callable[..., Answered], encoded: Encoded, arms: Arms) -> Answered:
        """By the candidate, or by both. Where that fails, what serves answers, and the impression says so."""
        try:
            tried = search(encoded, served=arms.candidate, arm="candidate")
        except DataError:
            raise
        except Exception as error:
            log.error("a candidate failed; what serves answers", query_id=ask.query_id, exc_info=error)
            return search(encoded, served=arms.active, arm="fallback")
        if not arms.interleaved:
            return tried
        vectors = tried.found.vectors
        active = search(lambda: vectors, served=arms.active, arm="active")
        return interleaved(ask, active, tried)

    def _by(
        self,
        query: Query,
        encoded: Encoded,
        *,
        codebooks: Codebooks,
        history: Sequence[str],
        served: ServedAdapter | None,
        arm: Arm,
    ) -> Answered:
        ranker = NOTHING_LEARNED if served is None else served.ranker
        found = self._searching.search(query, encoded, codebooks, ranker=ranker, history=history)
        names = [self._stamp, found.bundle, served and served.reference]
        return Answered(found, [name for name in names if name], arm)

    def _explored(self, ask: Ask, answered: Answered, session: str) -> Answered:
        """As chance orders it in some sessions once clicks come, and the pairs that it ordered."""
        is_early = not len(self._clicks.memory)
        if is_early or not ask.query.learn or not explores(session, self._shuffled_share):
            return answered
        hits, random_pairs = shuffled(answered.found.hits, ask.query_id)
        return replace(answered, found=replace(answered.found, hits=hits), random_pairs=random_pairs)


def interleaved(ask: Ask, active: Answered, candidate: Answered) -> Answered:
    """Both lists in one. Hits keep the scores of the list that brought them."""
    by_team = {
        team: {hit.document_id: hit for hit in answered.found.hits}
        for team, answered in (("incumbent", active), ("candidate", candidate))
    }
    both = by_team["candidate"] | by_team["incumbent"]
    ids, teams = team_draft(
        list(by_team["incumbent"]),
        list(by_team["candidate"]),
        chance_of(ask.query_id),
        length=ask.query.top_k,
    )
    hits = [
        by_team.get(team or "", both)[name].model_copy(update={"position": place})
        for place, (name, team) in enumerate(zip(ids, teams, strict=True), start=1)
    ]
    models = list(dict.fromkeys([*active.models, *candidate.models]))
    return Answered(replace(active.found, hits=hits), models, "interleaved", teams=teams)
