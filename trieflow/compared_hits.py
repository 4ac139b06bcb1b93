"""Two answers, hit by hit: what is the same, what is close, what is not.

Word scores are close at best. In the statistics of words, documents that were deleted or changed count until the
files of the lexical index are merged, and when that is depends on when a searcher wrote them. So a score may differ
by a share of what words give to it, and hits whose scores lie that near to each other may change places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trieflow.old_answers import Shown

SCORE_TOLERANCE = 1e-4
"""By so much, relative or absolute, a score may differ and is the same: sums of floats depend on their order."""
WORDS_TOLERANCE = 0.1
"""The share of what words give to a score. Half of it was seen among a hundred documents; among more it is less."""

Agreement = Literal["same", "close", "score", "position", "absent", "new"]
"""Of a hit: the same position and score; as near as word scores come; another score; another position; not found
again; not there before."""


@dataclass(frozen=True)
class ComparedHit:
    """A hit then and now; None where it was not shown. reason: why it is absent, where that is known."""

    document_id: str
    agreement: Agreement
    position_then: int | None
    position_now: int | None
    score_then: float | None
    score_now: float | None
    reason: str | None = None


def compared(
    then: Sequence[Shown], now: Sequence[Shown], *, top_k: int, words: Mapping[str, float]
) -> list[ComparedHit]:
    """Each hit of two answers once: those of the old one in its order, then what is new among the first `top_k`.

    now: may go on behind `top_k`, to say where old hits are. words: by document id, what they give to a score now.
    """
    return _Comparison(then, now, top_k, words).hits()


def agree(hits: Sequence[ComparedHit]) -> bool:
    """Whether all of them are the same, or close."""
    return all(hit.agreement in ("same", "close") for hit in hits)


class _Comparison:
    def __init__(
        self, then: Sequence[Shown], now: Sequence[Shown], top_k: int, words: Mapping[str, float]
    ) -> None:
        self._then = {hit.document_id: hit for hit in then}
        self._now = {hit.document_id: hit for hit in now}
        self._words = words
        shown = [hit.document_id for hit in now if hit.position <= top_k]
        self._all = list(dict.fromkeys([*self._then, *shown]))

    def hits(self) -> list[ComparedHit]:
        return [self._hit(document_id) for document_id in self._all]

    def _hit(self, document_id: str) -> ComparedHit:
        then, now = self._then.get(document_id), self._now.get(document_id)
        return ComparedHit(
            document_id,
            self._agreement(document_id, then, now),
            then and then.position,
            now and now.position,
            then and then.score,
            now and now.score,
        )

    def _agreement(self, document_id: str, then: Shown | None, now: Shown | None) -> Agreement:
        if now is None:
            return "absent"
        if then is not None and then.position == now.position and _same(then.score, now.score):
            return "same"
        if not self._may_have_moved(document_id):
            return "new" if then is None else "position"
        if then is None or abs(then.score - now.score) <= self._slack(document_id):
            return "close"
        return "score"

    def _may_have_moved(self, document_id: str) -> bool:
        """Whether all hits that it changed order with are as near to it as word scores are uncertain."""
        mine = self._now[document_id]
        for other_id in self._all:
            other = self._now.get(other_id)
            if other is None or self._is_before(document_id, other_id) == (mine.position < other.position):
                continue
            slack = max(self._slack(document_id) + self._slack(other_id), SCORE_TOLERANCE)
            if other_id != document_id and abs(mine.score - other.score) > slack:
                return False
        return True

    def _is_before(self, one: str, other: str) -> bool:
        """Whether it was: what was not shown is behind all, in the order of now."""
        first, second = self._then.get(one), self._then.get(other)
        if first is None and second is None:
            return self._now[one].position < self._now[other].position
        return second is None or (first is not None and first.position < second.position)

    def _slack(self, document_id: str) -> float:
        return WORDS_TOLERANCE * self._words.get(document_id, 0.0)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)
