"""Documents whose text and pictures disagree, found while they are indexed.

Similarity alone says little: kinds lie apart in the space of most encoders, and some pictures are near to all. So
both vectors are taken less the mean of their kind over other documents, and a cosine below 0 says that text and
pictures lie on opposite sides of the usual. Of OpenMoji pictures with names in twelve languages, `lite` finds 53 %
of those with another one's name so, and 4 % of the others; with English names 57 % and 2 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from state.shard import Shard, StoredVector
from streams.events.assignments import StampedVector
from streams.events.bad_cases import BadCase

FEWEST = 64
"""Documents with both, before any is judged."""
_SEEN_AT_START = 512
_SURE = 0.05
"""What was told once may have been judged by other means: up to here it is withdrawn when it is changed."""

Floats = NDArray[np.float32]
Vectors = Sequence[StampedVector] | Sequence[StoredVector]


class Mismatches:
    """Judges the documents of one partition, in one thread.

    The means are those of the first documents of its shard, and of all that came since.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._count = -1
        self._means: tuple[Floats, Floats] | None = None

    def look_at(self, document_id: str, title: str | None, vectors: Vectors) -> BadCase | None:
        """The case of a document that is about to be written, if there is one; its vectors count for later ones."""
        both = text_and_pictures(vectors)
        if both is None:
            return None
        agreement = self._agreement(both)
        self._count_in(both)
        if agreement is None or agreement >= 0:
            return None
        return _case(document_id, title=title, agreement=agreement)

    def withdrawn(self, document_id: str) -> BadCase | None:
        """That there is no case any more, where the stored document may have been one."""
        both = text_and_pictures(self._shard.vectors(document_id))
        agreement = None if both is None else self._agreement(both)
        if agreement is None or agreement >= _SURE:
            return None
        return _case(document_id, withdrawn=True)

    def _agreement(self, both: tuple[Floats, Floats]) -> float | None:
        """The cosine of both, less the means; None before there are enough documents."""
        if self._count < 0:
            self._begin()
        if self._means is None or self._count < FEWEST:
            return None
        text, picture = (vector - mean for vector, mean in zip(both, self._means, strict=True))
        lengths = float(np.linalg.norm(text) * np.linalg.norm(picture))
        return float(text @ picture) / lengths if lengths > 0 else None

    def _begin(self) -> None:
        self._count = 0
        stored = (vectors for *_, vectors in islice(self._shard.documents(), _SEEN_AT_START))
        for both in filter(None, map(text_and_pictures, stored)):
            self._count_in(both)

    def _count_in(self, both: tuple[Floats, Floats]) -> None:
        self._count = max(self._count, 0) + 1
        if self._means is None:
            self._means = both
        else:
            text, picture = self._means
            share = np.float32(1 / self._count)
            self._means = text + share * (both[0] - text), picture + share * (both[1] - picture)


def text_and_pictures(vectors: Vectors) -> tuple[Floats, Floats] | None:
    """The mean vectors (d,) of the texts and of the pictures of a document; None where it has not both."""
    kinds: dict[str, list[Floats]] = {"text": [], "image": []}
    for vector in vectors:
        kind = "text" if vector.kind == "passage" else vector.kind
        if kind in kinds:
            array = vector.array() if isinstance(vector, StampedVector) else vector.array
            kinds[kind].append(array.astype(np.float32))
    if not all(kinds.values()):
        return None
    return np.mean(kinds["text"], axis=0), np.mean(kinds["image"], axis=0)


def _case(
    document_id: str, *, title: str | None = None, agreement: float | None = None, withdrawn: bool = False
) -> BadCase:
    return BadCase(
        kind="title_picture_mismatch",
        at=datetime.now(UTC),
        document_id=document_id,
        title=title,
        agreement=None if agreement is None else round(agreement, 4),
        withdrawn=withdrawn,
    )
