"""Rows of the learner's shard: an impression with what people did about it, and what is remembered of a key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from streams.events.assignments import StampedVector
from streams.events.click_memory import QUERY_PREFIX, RememberedClicks
from streams.events.impressions import Impression

LINKED = 0.5
"""What a click on the answer to the next query counts for the query before it."""
_SESSION = "session/"
"""What the person of a session without a user begins with; a user is a hash."""
HIDDEN = 3.0
"""What hiding a document counts: as many expected clicks that did not come."""
_NOTHING = 1e-9
"""Clicks: what rounding leaves of a sum when all of it is taken back."""


class Shown(NamedTuple):
    """A hit of an impression, with its score before fine-ranking (None: not known) and what words gave of it."""

    document_id: str
    position: int
    team: str | None
    relevance: float | None = None
    lexical: float = 0.0


class Act(NamedTuple):
    """What somebody did with a hit; seconds since the epoch."""

    document_id: str
    action: str
    at: float


class ImpressionRow(NamedTuple):
    """What was shown for a query, and what people did.

    query: the key of the query's memory. person: whose clicks these are, for the cap. counted: the exponent of the
    examination by which its list is among the expected clicks, None when it is not. linked: the same for the query
    before it. Both are kept so that exactly what was added can be taken back.
    typed: whether the query is a single text. hidden: documents that were hidden, none of which is in `clicked`.
    """

    number: int
    at: float
    query: str
    words: Sequence[str]
    shown: Sequence[Shown]
    person: str
    session: str | None
    previous: str | None
    random_pairs: Sequence[int] = ()
    models: Sequence[str] = ()
    arm: str = "active"
    counted: float | None = None
    linked: float | None = None
    acts: Sequence[Act] = ()
    clicked: Sequence[str] = ()
    typed: bool = False
    hidden: Sequence[str] = ()

    def encode(self) -> bytes:
        return orjson.dumps(tuple(self), default=tuple)

    @classmethod
    def decode(cls, value: bytes) -> ImpressionRow:
        fields = orjson.loads(value)  # of older rows the last ones are missing
        fields[_SHOWN] = [Shown(*each) for each in fields[_SHOWN]]
        if len(fields) > _ACTS:
            fields[_ACTS] = [Act(*each) for each in fields[_ACTS]]
        return cls(*fields)

    def position_of(self, document_id: str) -> int | None:
        """Where a document was shown; None when it was not."""
        return next((hit.position for hit in self.shown if hit.document_id == document_id), None)


_SHOWN, _ACTS = map(ImpressionRow._fields.index, ("shown", "acts"))


@dataclass(slots=True)
class Remembered:
    """Clicks and expected clicks by document, of a query or of a word. Changed in place, written whole.

    used, first: numbers of the last impression that counted and of the one it began with. words: of a query, those
    that it brought. impressions: how many it was made of.
    """

    documents: dict[str, list[float]] = field(default_factory=dict)
    vector: Mapping[str, Any] | None = None
    queries: int = 1
    used: int = 0
    words: Sequence[str] = ()
    first: int = 0
    impressions: int = 0

    def add(self, document_id: str, *, clicks: float = 0.0, expected: float = 0.0) -> None:
        counts = self.documents.setdefault(document_id, [0.0, 0.0])
        counts[0] += clicks
        counts[1] += expected

    def take(self, document_id: str, *, clicks: float = 0.0, expected: float = 0.0) -> None:
        """Take back what was added; of a document that was given up meanwhile there is nothing left to take."""
        counts = self.documents.get(document_id)
        if counts is not None:
            counts[:] = [max(0.0, counts[0] - clicks), max(0.0, counts[1] - expected)]
            if max(counts) < _NOTHING:
                del self.documents[document_id]

    def keep(self, most: int) -> None:
        """Forget the documents that say least, when there are more than `most`."""
        if len(self.documents) > most:
            best = sorted(self.documents.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
            self.documents = dict(best[:most])

    def encode(self) -> bytes:
        return orjson.dumps([getattr(self, name) for name in _REMEMBERED])

    @classmethod
    def decode(cls, value: bytes) -> Remembered:
        return cls(*orjson.loads(value))

    def event(self) -> RememberedClicks:
        """The same for the searchers."""
        counts = np.fromiter(chain.from_iterable(self.documents.values()), np.float64)
        rounded = np.round(counts, 4).tolist()
        vector = None if self.vector is None else StampedVector.model_construct(**self.vector)
        return RememberedClicks.model_construct(
            vector=vector,
            queries=self.queries,
            documents=dict(zip(self.documents, zip(rounded[::2], rounded[1::2], strict=True), strict=True)),
        )


_REMEMBERED = tuple(Remembered.__dataclass_fields__)


def query_key(vector: StampedVector) -> str:
    """The key of what is remembered of a query: equal vectors, equal keys."""
    digest = hashlib.blake2b(f"{vector.stamp}\n{vector.data}".encode(), digest_size=16).hexdigest()
    return QUERY_PREFIX + digest


def person_of(impression: Impression) -> str:
    """Whose clicks count together: the user, else the session; all others are one."""
    return impression.user or (f"{_SESSION}{impression.session_id}" if impression.session_id else "")


def is_user(person: str) -> bool:
    """Whether that is a user; a session of nobody who is known, and all others, are none."""
    return bool(person) and not person.startswith(_SESSION)
