"""Impressions: what was shown for a query, written for each answer so that learning knows what was not clicked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from agents.asked import QueryVector, summed
from agents.keyed_hashes import KeyedHashes
from streams.events.assignments import StampedVector
from streams.events.impressions import Impression, ImpressionPart, ShownDocument
from streams.events.queries import Query, Result
from streams.settings import Settings


class Impressions:
    """Makes impressions. People and unknown words are in them as keyed hashes alone, the words of queries
    only where the settings allow it."""

    def __init__(self, settings: Settings, hashes: KeyedHashes, *, stamp: str) -> None:
        self._with_text = settings.privacy.log_query_text
        self._hashes = hashes
        self._stamp = stamp

    def of(
        self,
        query: Query,
        result: Result,
        vectors: Sequence[QueryVector],
        *,
        unknown_words: Sequence[str] = (),
        random_pairs: Sequence[int] = (),
    ) -> Impression:
        """The impression of an answer. unknown_words: as keyed hashes."""
        return Impression(
            query_id=result.query_id,
            user=None if query.user_id is None else self._hashes.user(query.user_id),
            session_id=query.session_id,
            previous_query_id=query.previous_query_id,
            parts=self._parts(query),
            query_vector=StampedVector.of(self._stamp, "fused", summed(vectors)),
            shown=[
                ShownDocument(
                    document_id=hit.document_id,
                    position=hit.position,
                    score=hit.score,
                    propensity=1 / hit.position,
                )
                for hit in result.hits or ()
            ],
            shuffled=bool(random_pairs),
            random_pairs=list(random_pairs),
            unknown_words=list(unknown_words),
            models=[self._stamp],
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
