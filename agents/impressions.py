"""Impressions: what was shown for a query, written for each answer so that learning knows what was not clicked."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from agents.asked import QueryVector
from streams.events.assignments import StampedVector
from streams.events.impressions import Impression, ImpressionPart, ShownDocument
from streams.events.queries import Query, Result
from streams.settings import Settings

KEY_FILE = "user-hash-key"
_KEY_BYTES = 32


class Impressions:
    """Makes impressions. People are in them as keyed hashes alone, words only where the settings allow it."""

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        self._with_text = settings.privacy.log_query_text
        self._key = _user_key(settings)
        self._stamp = stamp

    def of(self, query: Query, result: Result, vectors: Sequence[QueryVector]) -> Impression:
        """The impression of an answer; its query vector (d,) is the weighted sum of the parts but `not`."""
        vector = np.sum([v.weight * v.vector for v in vectors if v.role != "not"], axis=0)
        return Impression(
            query_id=result.query_id,
            user=self._hashed(query.user_id),
            session_id=query.session_id,
            previous_query_id=query.previous_query_id,
            parts=self._parts(query),
            query_vector=StampedVector.of(self._stamp, "fused", vector),
            shown=[
                ShownDocument(
                    document_id=hit.document_id,
                    position=hit.position,
                    score=hit.score,
                    propensity=1 / hit.position,
                )
                for hit in result.hits or ()
            ],
            models=[self._stamp],
            epoch=result.epoch,
            fresh_to=result.fresh_to,
            codebook_offset=result.codebook_offset,
            at=datetime.now(UTC),
        )

    def _hashed(self, user_id: str | None) -> str | None:
        if user_id is None:
            return None
        return hmac.new(self._key, user_id.encode(), hashlib.sha256).hexdigest()

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


def _user_key(settings: Settings) -> bytes:
    """The key that turns user ids into hashes: a setting, or made once and kept in the data folder."""
    if settings.privacy.user_hash_key is not None:
        return settings.privacy.user_hash_key.get_secret_value().encode()
    path: Path = settings.data / KEY_FILE
    if not path.exists():
        _make_key(path)
    return path.read_bytes()


def _make_key(path: Path) -> None:
    """Whole or not at all, and the first of several searchers wins: all must hash alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name) as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            pass
