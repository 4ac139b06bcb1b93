"""Impressions: what was shown for a query, written for each answer so that learning knows what was not clicked."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import zip_longest

from agents.answering import Answered
from agents.asked import summed
from agents.found import Relevance
from models.gates.interleaving import Team
from streams.events.assignments import StampedVector
from streams.events.impressions import Impression, ImpressionPart, ShownDocument
from streams.events.queries import Hit, Query, Result
from streams.settings import Settings

_DIGITS = 5


class Impressions:
    """Makes impressions, without their users (`agents/pseudonyms.py` puts these on). Unknown words are in them as
    keyed hashes alone, the words of queries only where the settings allow it."""

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        self._with_text = settings.privacy.log_query_text
        self._stamp = stamp

    def of(self, query: Query, result: Result, answered: Answered) -> Impression:
        """The impression of an answer."""
        found = answered.found
        return Impression(
            query_id=result.query_id,
            session_id=query.session_id,
            previous_query_id=query.previous_query_id,
            parts=self._parts(query),
            query_vector=StampedVector.of(self._stamp, "fused", summed(found.vectors)),
            shown=[
                _shown(hit, team, None if answered.teams else found.relevances.get(hit.document_id))
                for hit, team in zip_longest(result.hits or (), answered.teams)
            ],
            shuffled=bool(answered.random_pairs),
            random_pairs=list(answered.random_pairs),
            history=list(found.history),
            unknown_words=list(found.unknown_words),
            models=answered.models,
            arm=answered.arm,
            took_ms=(result.took_ms or {}).get("total"),
            bundle=result.bundle,
            mode=result.mode,
            unsure=result.unsure,
            low_confidence=result.low_confidence,
            epoch=result.epoch,
            fresh_to=result.fresh_to,
            fresh_until=result.fresh_until,
            behind=result.behind,
            codebook_offset=result.codebook_offset,
            memory_offset=-1 if result.memory_offset is None else result.memory_offset,
            at=datetime.now(UTC),
        )

    def _parts(self, query: Query) -> list[ImpressionPart]:
        return [
            ImpressionPart(
                kind="text" if part.text is not None else "image" if part.image is not None else "document",
                text=part.text if self._with_text else None,
                document_id=part.document_id,
                weight=part.weight,
                role=part.role,
            )
            for part in query.parts
        ]


def _shown(hit: Hit, team: Team | None, relevance: Relevance | None) -> ShownDocument:
    return ShownDocument(
        document_id=hit.document_id,
        position=hit.position,
        score=hit.score,
        propensity=1 / hit.position,
        team=team,
        relevance=relevance and round(relevance.score, _DIGITS),
        lexical=round(relevance.lexical, _DIGITS) if relevance and relevance.lexical else None,
    )
