"""From a window and a catalogue to the weights of fine-ranking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.catalogue import Catalogue
from agents.places import place_of
from agents.training_window import Answers
from models.ranking.learning import Choices, learn_weights
from models.ranking.weights import (
    PUBLISHED_AT,
    Authority,
    ClickRate,
    Freshness,
    Ranking,
    Signals,
    Words,
)
from state.clicks.examination import POSITIONS, examination
from state.clicks.rows import ImpressionRow, Shown
from streams.settings import RankingSettings

Floats = NDArray[np.float64]
DEEPEST = 20
"""Positions that are learned from."""
QUANTILES = 101
_FOLDS = 5
_PRIOR_CLICKS = 10.0
"""Expected clicks that the usual rate of clicks is worth."""


def wanted_fields(settings: RankingSettings, *rankings: Ranking) -> set[str]:
    """Fields whose numbers a training has to know: of what may be learned, and of what serves."""
    own = {PUBLISHED_AT} | ({settings.authority_field} if settings.authority_field else set())
    return own.union(*(each.fields for each in rankings))


def learn_ranking(answers: Answers, catalogue: Catalogue, settings: RankingSettings) -> Ranking:
    """The weights that the clicks of these answers speak for. Raises ImportError without scipy."""
    lesson = _Lesson(answers, catalogue, settings)
    choices = lesson.choices()
    return lesson.open.with_weights(learn_weights(choices))


@dataclass(frozen=True)
class _Row:
    """A document of a choice."""

    choice: int
    chosen: bool
    document: int
    at: float
    fold: int
    hit: Shown


class _Lesson:
    def __init__(self, answers: Answers, catalogue: Catalogue, settings: RankingSettings) -> None:
        self._answers, self._catalogue = answers, catalogue
        self._numbers = catalogue.numbers
        self._looks = examination(POSITIONS, answers.shard.state.exponent)
        self._clicks, self._expected = self._totals()
        self.open = self._signals(settings)

    def choices(self) -> Choices:
        """All clicks on lists whose relevance is known."""
        rows = list(self._rows())
        documents = np.array([row.document for row in rows], dtype=np.int64)
        folds = np.array([row.fold for row in rows], dtype=np.int64)
        known = Signals(
            numbers={field: self._catalogue.values[field][documents] for field in self.open.fields},
            clicks=self._without(self._clicks, folds, documents),
            expected=self._without(self._expected, folds, documents),
            lexical=np.array([row.hit.lexical for row in rows], dtype=np.float64),
        )
        parts = self.open.parts(known, at=np.array([row.at for row in rows], dtype=np.float64))
        return Choices(
            choice=np.array([row.choice for row in rows], dtype=np.int64),
            chosen=np.array([row.chosen for row in rows], dtype=np.bool_),
            document=documents,
            examination=np.array([self._looks[row.hit.position - 1] for row in rows], dtype=np.float64),
            relevance=np.array([row.hit.relevance for row in rows], dtype=np.float64),
            signals=np.column_stack([np.zeros((len(rows), 0)), *parts.values()]),
            names=list(parts),
        )

    def _signals(self, settings: RankingSettings) -> Ranking:
        """Every signal that the settings want, as if its weight were 1."""
        values = {name: known[~np.isnan(known)] for name, known in self._catalogue.values.items()}
        field = settings.authority_field
        authority = values[field] if field is not None else np.empty(0)
        clicks, expected = float(self._clicks.sum()), float(self._expected.sum())
        return Ranking(
            freshness=Freshness(weight=1, half_life_d=settings.half_life_d)
            if settings.freshness and len(values[PUBLISHED_AT])
            else None,
            authority=Authority(weight=1, field=field, quantiles=_quantiles(authority))
            if field is not None and len(authority)
            else None,
            click_rate=ClickRate(weight=1, prior=_PRIOR_CLICKS, rate=round(clicks / expected, 5))
            if settings.click_rate and expected
            else None,
            words=Words(weight=1) if settings.words else None,
        )

    def _rows(self) -> Iterator[_Row]:
        """Each click with its whole list."""
        choice = 0
        for query_id, row in self._answers.typed():
            hits = [hit for hit in row.shown if self._is_known(hit)]
            if row.arm == "interleaved" or len(hits) < 2:
                continue
            for clicked in (hit for hit in hits if hit.document_id in row.clicked):
                for hit in hits:
                    number = self._numbers[hit.document_id]
                    yield _Row(choice, hit is clicked, number, row.at, _fold(query_id, row), hit)
                choice += 1

    def _is_known(self, hit: Shown) -> bool:
        return hit.relevance is not None and hit.position <= DEEPEST and hit.document_id in self._numbers

    def _totals(self) -> tuple[Floats, Floats]:
        """Clicks and expected clicks by fold of sessions and document (folds, documents)."""
        clicks, expected = np.zeros((2, _FOLDS, len(self._catalogue.ids)))
        for query_id, row in self._answers.rows.items():
            fold = _fold(query_id, row)
            for hit in row.shown:
                number = self._numbers.get(hit.document_id)
                if number is not None and row.counted is not None:
                    clicks[fold, number] += hit.document_id in row.clicked
                    expected[fold, number] += self._looks[min(hit.position, POSITIONS) - 1]
        return clicks, expected

    def _without(self, totals: Floats, folds: NDArray[np.int64], documents: NDArray[np.int64]) -> Floats:
        """Of all sessions but those of a row's fold: else a click would foretell itself."""
        return np.asarray(totals.sum(axis=0)[documents] - totals[folds, documents])


def _fold(query_id: str, row: ImpressionRow) -> int:
    return int(_FOLDS * place_of(row.session or query_id, "ranking"))


def _quantiles(values: Floats) -> tuple[float, ...]:
    return tuple(np.quantile(values, np.linspace(0, 1, QUANTILES), method="nearest").tolist())
