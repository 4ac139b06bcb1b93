"""Weights of fine-ranking, as a searcher applies them: S = S_rel + sum of weight_i * S_i over its signals.

Without any weight the score is the relevance S_rel that paths and clicks gave.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streams.errors import ModelError

FILE = "ranking.json"
PUBLISHED_AT = "published_at"
"""The field of when a document was published, in seconds since the epoch."""
Signal = Literal["freshness", "authority", "click_rate", "words"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
_DAY_S = 86_400.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Signals:
    """What is known of n documents for one query.

    numbers: by field, a number of each document (n,), NaN where it has none. clicks, expected: of each over all
    queries (n,). lexical: what words gave to the score of each (n,).
    """

    numbers: Mapping[str, Floats]
    clicks: Floats
    expected: Floats
    lexical: Floats


class _Weighted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: float = Field(ge=0)
    """What the signal counts at most, in units of the score."""


class Freshness(_Weighted):
    """0.5 ** (age / half life): 1 for what is published now or later, 0 without `published_at`."""

    half_life_d: float = Field(gt=0)
    """Days."""

    def signal(self, documents: Signals, at: ArrayLike) -> Floats:
        """(n,) at a time: seconds since the epoch, one or (n,)."""
        age = np.maximum(np.asarray(at) - documents.numbers[PUBLISHED_AT], 0.0)
        return np.nan_to_num(0.5 ** (age / (self.half_life_d * _DAY_S)), nan=0.0)


class Authority(_Weighted):
    """The share of the documents whose number in a field is lower, equal ones by half; 0 without one."""

    field: str = Field(min_length=1)
    quantiles: tuple[float, ...] = Field(min_length=2)
    """Of the field over the documents that have it, ascending and evenly spaced."""

    @field_validator("quantiles")
    @classmethod
    def _ascending(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(later < one for one, later in itertools.pairwise(quantiles)):
            raise ValueError("quantiles do not ascend")
        return quantiles

    def signal(self, documents: Signals, at: ArrayLike) -> Floats:
        """(n,), 0 to 1."""
        numbers, known = documents.numbers[self.field], np.array(self.quantiles)
        below = np.searchsorted(known, numbers, side="left") + np.searchsorted(known, numbers, side="right")
        return np.where(np.isnan(numbers), 0.0, below / (2 * len(known)))


class ClickRate(_Weighted):
    """Clicks for each that its positions let expect, over all queries, shrunk to what is usual, less what is usual.

    At most 1; below 0 for what people pass over.
    """

    prior: float = Field(gt=0)
    """Expected clicks that the usual rate is worth."""
    rate: float = Field(ge=0)
    """The usual one."""

    def signal(self, documents: Signals, at: ArrayLike) -> Floats:
        """(n,), at most 1."""
        shrunk = (documents.clicks + self.prior * self.rate) / (documents.expected + self.prior)
        return np.minimum(shrunk - self.rate, 1.0)


class Words(_Weighted):
    """What words gave, again: their weight in the fusion is multiplied by 1 + weight."""

    weight: float = Field(ge=-1)

    def signal(self, documents: Signals, at: ArrayLike) -> Floats:
        """(n,), in units of the score."""
        return documents.lexical


class Ranking(BaseModel):
    """The weights that are on; goes into a bundle as JSON. The default adds nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    freshness: Freshness | None = None
    authority: Authority | None = None
    click_rate: ClickRate | None = None
    words: Words | None = None

    @property
    def weights(self) -> dict[Signal, float]:
        """By signal, those that are on."""
        return {name: each.weight for name, each in self._parts()}

    @property
    def fields(self) -> set[str]:
        """Whose numbers it wants to know."""
        published = {PUBLISHED_AT} if self.freshness is not None else set()
        return published if self.authority is None else published | {self.authority.field}

    def parts(self, documents: Signals, *, at: ArrayLike) -> dict[Signal, Floats]:
        """What each weight adds to the score of each document (n,). at: seconds since the epoch, one or (n,)."""
        return {name: each.weight * each.signal(documents, at) for name, each in self._parts()}

    def with_weights(self, weights: Mapping[Signal, float]) -> Ranking:
        """The same signals with other weights; what is left out or 0 is off."""
        on = {
            name: each.model_copy(update={"weight": weights[name]})
            for name, each in self._parts()
            if weights.get(name)
        }
        return Ranking.model_validate(on)

    def weakened(self, share: float) -> Ranking:
        """Every weight times a share: 0 is nothing, 1 all of it."""
        return self.with_weights({name: share * weight for name, weight in self.weights.items()})

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Ranking:
        """Of a bundle; the default where it says nothing. Raises ModelError when it cannot be used."""
        if FILE not in files:
            return cls()
        try:
            return cls.model_validate_json(files[FILE])
        except ValidationError as error:
            raise ModelError(f"{FILE} is not readable: {error}") from error

    def to_files(self) -> dict[str, bytes]:
        """The inverse of `from_files`: nothing where no weight is on."""
        return {FILE: self.model_dump_json(exclude_none=True).encode()} if self.weights else {}

    def _parts(self) -> list[tuple[Signal, Freshness | Authority | ClickRate | Words]]:
        return [(name, each) for name in SIGNALS if (each := getattr(self, name)) is not None]
