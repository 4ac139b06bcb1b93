"""From the parts of a query to their vectors: texts and pictures are encoded, stored documents are looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from agents.asked import PartKind, QueryVector, Vector
from agents.asks import Ask
from agents.content_store import ContentStore
from agents.encoding import EncodingService
from agents.fetching import Fetcher
from agents.preparation import Preparer, picture_bytes
from models.encoders.base import Encoded, Part, TextPart
from streams.errors import DataError
from streams.events.queries import QueryPart
from streams.settings import Settings

PICTURE_THREADS = 16

PreparedPart: TypeAlias = tuple[QueryPart, Part | None]
"""A part that counts, and what the encoder is given of it: None for "like this document"."""


class QueryVectors:
    """`prepare` on the event loop, then `submit` in a thread: pictures are fetched before a thread is held."""

    def __init__(
        self,
        settings: Settings,
        *,
        encoding: EncodingService,
        store: ContentStore,
        like: Callable[[str], tuple[PartKind, Vector, Vector | None]],
    ) -> None:
        """`like`: kind, vector and raw features of a stored document, or DataError."""
        self._encoding = encoding
        self._like = like
        self._content = settings.content
        self._preparer = Preparer(
            encoder=encoding.description,
            passages=encoding.passages,
            store=store,
            content=settings.content,
            index=settings.index,
        )
        self._fetcher = Fetcher(settings.content)
        # Apart from the searches: a picture behind a slow address must not hold up other queries.
        self._pictures = ThreadPoolExecutor(PICTURE_THREADS, thread_name_prefix="query-picture")

    async def prepare(self, ask: Ask) -> list[PreparedPart]:
        """Check the parts that count, and fetch and decode their pictures. Raises DataError."""
        if ask.query.model_version not in (None, self._encoding.description.stamp):
            raise DataError(
                "incompatible_model",
                f"this searcher answers with {self._encoding.description.stamp}",
                field="model_version",
            )
        return [
            (part, None if part.document_id is not None else await self._prepared(part, position))
            for position, part in enumerate(ask.query.parts)
            if part.weight
        ]

    def submit(self, ask: Ask, parts: Sequence[PreparedPart]) -> Callable[[], list[QueryVector]]:
        """Have all parts encoded, together; what is returned waits for them. That raises DataError
        `unknown_document`, or `expired` where it took too long."""
        waiting = [
            None if given is None else self._encoding.submit([given], side="query") for _, given in parts
        ]

        def vectors() -> list[QueryVector]:
            found = [
                self._stored(part) if encoded is None else _encoded(part, encoded.result())
                for (part, _), encoded in zip(parts, waiting, strict=True)
            ]
            if ask.remaining_s <= 0:
                raise DataError("expired", "the deadline passed while the query was encoded")
            return found

        return vectors

    def _stored(self, part: QueryPart) -> QueryVector:
        kind, vector, raw = self._like(str(part.document_id))
        return QueryVector(kind, self._encoding.as_query(vector), raw, part.weight, part.role)

    async def _prepared(self, part: QueryPart, position: int) -> Part:
        if part.text is not None:
            return TextPart(part.text)
        image = part.image
        assert image is not None

        def decoded() -> Part:
            field = f"parts.{position}.image"
            data = picture_bytes(image, fetcher=self._fetcher, settings=self._content, field=field)
            return self._preparer.picture(data, field=field)

        return await asyncio.get_running_loop().run_in_executor(self._pictures, decoded)


def _encoded(part: QueryPart, found: Encoded) -> QueryVector:
    if part.text is not None:
        return QueryVector("text", found.vectors[0], None, part.weight, part.role, is_typed=True)
    raw = found.raw[0] if found.raw.shape[1] else None
    return QueryVector("image", found.vectors[0], raw, part.weight, part.role)
