"""Learning weights of fine-ranking from lists with clicks: a softmax over each list, positions corrected.

People want a document of a list in proportion to exp(beta * S_rel + sum of c_i * S_i). A click at position k counts
1 / p_k, with p_k the probability that the position is looked at: so on average each document counts as far as it is
wanted, wherever it stood (inverse propensities: Joachims, Swaminathan and Schnabel, WSDM 2017; softmax loss with
them: Ai et al., SIGIR 2018). What makes all documents of a list likely to be clicked has no part in it. The weight
of a signal is c_i / beta: the score counts as it is, with coefficient 1, and clicks say what is added to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.ranking.weights import Signal
from streams.errors import ModelError

FEWEST = 200
"""Clicks below which nothing is learned."""
SURE = 2.33
"""Standard errors by which a coefficient must be above 0: of signals that say nothing one in a hundred is."""
MOST = 2.0
"""A weight is at most so many times the usual difference of relevance between the best and the worst of a list."""
WORDS = (-0.9, 2.0)
"""Within these is the weight of words, which are a part of the relevance already."""
HEAVIEST = 10.0
"""A click far down counts so much at most: there are few, and mostly noise."""
_LEAST_BETA = 0.1
_PRECISION = 1.0
"""Of the normal priors: beta around 1 for each usual difference of a list, all others around 0."""

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """c clicks, each with all documents of its list, n rows: those of one click are together, in any order.

    choice: (n,) number of the click, ascending from 0 without gaps. chosen: (n,) true for one row of each.
    document: (n,) its number. examination: (n,) of its position, above 0. relevance: (n,) its score without
    fine-ranking. signals: (n, k) by signal, in the order of `names`.
    """

    choice: Numbers
    chosen: NDArray[np.bool_]
    document: Numbers
    examination: Floats
    relevance: Floats
    signals: Floats
    names: Sequence[Signal]

    def __post_init__(self) -> None:
        chosen = np.bincount(self.choice[self.chosen], minlength=len(self))
        if len(self.choice) and not np.all(chosen == 1):
            raise ModelError("each choice must have one document that was chosen")

    def __len__(self) -> int:
        """How many clicks."""
        return int(self.choice[-1]) + 1 if len(self.choice) else 0

    @cached_property
    def starts(self) -> Numbers:
        """The first row of each choice (c,)."""
        return np.flatnonzero(np.diff(self.choice, prepend=-1))

    @cached_property
    def spread(self) -> float:
        """The usual difference of relevance between the best and the worst of a choice."""
        if not len(self):
            return 0.0
        highest = np.maximum.reduceat(self.relevance, self.starts)
        return float(np.median(highest - np.minimum.reduceat(self.relevance, self.starts)))


def learn_weights(choices: Choices) -> dict[Signal, float]:
    """The weights that clicks surely speak for, in units of the score; empty where they speak for none.

    The same choices give the same weights. Signals that are not surely above 0 are left out one by one, the least
    sure first; standard errors allow for documents that are clicked for reasons of their own.
    """
    if len(choices) < FEWEST or choices.spread <= 0:
        return {}
    kept = [name for place, name in enumerate(choices.names) if np.ptp(choices.signals[:, place]) > 0]
    while kept:
        found, errors = _Fit(choices, kept).solve()
        sureness = {name: found[place] / errors[place] for place, name in enumerate(kept, start=1)}
        if "words" in sureness:
            sureness["words"] = abs(sureness["words"])
        least = min(sureness, key=lambda name: sureness[name])
        if sureness[least] > SURE:
            ratios = (found[1:] / found[0]).tolist()
            return {
                name: _weight(name, ratio, choices.spread) for name, ratio in zip(kept, ratios, strict=True)
            }
        kept.remove(least)
    return {}


def _weight(name: Signal, ratio: float, spread: float) -> float:
    """From coefficients in relation to that of relevance, in usual differences of a list."""
    weight = max(WORDS[0], min(ratio, WORDS[1])) if name == "words" else min(ratio, MOST) * spread
    return round(weight, 5)


class _Fit:
    """One fit: coefficients (1 + k,) of relevance, in usual differences of a list, and of the kept signals.

    Words are a part of the relevance and are measured as it is.
    """

    def __init__(self, choices: Choices, kept: Sequence[Signal]) -> None:
        self._choices = choices
        columns = [choices.signals[:, choices.names.index(name)] for name in kept]
        units = [choices.spread if name == "words" else 1.0 for name in kept]
        signals = [column / unit for column, unit in zip(columns, units, strict=True)]
        self._rows = np.column_stack([choices.relevance / choices.spread, *signals])  # (n, 1 + k)
        self._weights = np.minimum(1 / choices.examination[choices.chosen], HEAVIEST)  # (c,)
        self._prior = np.zeros(self._rows.shape[1])
        self._prior[0] = 1.0

    def solve(self) -> tuple[Floats, Floats]:
        """Coefficients and their standard errors."""
        from scipy.optimize import minimize

        bounds = [(_LEAST_BETA, None), *[(None, None)] * (len(self._prior) - 1)]
        solved = minimize(self._loss, self._prior, jac=True, method="L-BFGS-B", bounds=bounds)
        found: Floats = np.asarray(solved.x, dtype=np.float64)
        return found, np.sqrt(np.diag(self._covariance(found)))

    def _loss(self, coefficients: Floats) -> tuple[float, Floats]:
        """The negative log posterior and its gradient."""
        logs = self._log_chances(coefficients)
        surprise = self._rows[self._choices.chosen] - self._means(np.exp(logs))
        away = coefficients - self._prior
        loss = -self._weights @ logs[self._choices.chosen] + _PRECISION / 2 * (away**2).sum()
        return float(loss), _PRECISION * away - self._weights @ surprise

    def _log_chances(self, coefficients: Floats) -> Floats:
        """Of each row the log of the probability that it is chosen (n,)."""
        choice, starts = self._choices.choice, self._choices.starts
        logits = self._rows @ coefficients
        logits -= np.maximum.reduceat(logits, starts)[choice]
        return np.asarray(logits - np.log(np.add.reduceat(np.exp(logits), starts))[choice])

    def _means(self, chances: Floats) -> Floats:
        """Of each choice what its rows are on average (c, 1 + k)."""
        return np.asarray(np.add.reduceat(chances[:, None] * self._rows, self._choices.starts, axis=0))

    def _covariance(self, coefficients: Floats) -> Floats:
        """Of the coefficients, with clicks on one document taken together (a sandwich, clustered by document)."""
        choices = self._choices
        chances = np.exp(self._log_chances(coefficients))
        means = self._means(chances)
        weighted = (chances * self._weights[choices.choice])[:, None]
        information = (weighted * self._rows).T @ self._rows - (self._weights[:, None] * means).T @ means
        bread = np.linalg.inv(information + _PRECISION * np.eye(len(coefficients)))
        scores = self._weights[:, None] * (self._rows[choices.chosen] - means)
        number = np.unique(choices.document[choices.chosen], return_inverse=True)[1]
        by_document = np.zeros((int(number.max()) + 1, scores.shape[1]))
        np.add.at(by_document, number, scores)
        filling = by_document.T @ by_document
        # Clicks never say more than if they were independent.
        missing = np.maximum(np.square(scores).sum(axis=0) - np.diag(filling), 0.0)
        return np.asarray(bread @ (filling + np.diag(missing)) @ bread)
