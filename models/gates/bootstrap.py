"""How sure a change is: the bootstrap (Efron 1979), by queries or by whole sessions, from a seed.

scipy, imported when something is judged: it is in the extra `train`, where candidates are made, and deciding about
a canary needs none of it. Resampling by plain numpy would take as long.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from models.gates.ranks import Floats
from streams.errors import GateError

RESAMPLES = 2_000
NEEDS_TRAIN = "judging and measuring need the extra `train`: pip install 'trieflow[train]'"
LEVEL = 0.05
"""Of the lower bound."""
_AT_ONCE = 2_000_000
"""Numbers drawn at a time, which bounds the memory."""


def resampled_sums(values: Floats, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Sums (resamples,) of as many values as there are, drawn with replacement from values (n,).

    The order of the values changes nothing: they are sorted first. Raises GateError when scipy is missing.
    """
    if len(values) < 2 or not np.any(values):
        return np.full(resamples, float(values.sum()))
    found = _scipy_stats().bootstrap(
        (np.sort(values),),
        np.sum,
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // len(values)),
        method="percentile",
        rng=seed,
    )
    return np.asarray(found.bootstrap_distribution, dtype=np.float64)


def least_rate(events: float) -> float:
    """How many are to be expected at least where so many were counted: Poisson, 95 % confidence on this side."""
    return float(_scipy_stats().chi2.ppf(LEVEL, 2 * events)) / 2


def lower_bound(resampled: Floats) -> float:
    """What the true value is above of, with 95 % confidence on this side (percentile method)."""
    return float(np.quantile(resampled, LEVEL))


def _scipy_stats() -> ModuleType:
    try:
        import scipy.stats
    except ImportError as error:
        raise GateError(NEEDS_TRAIN, field="packages") from error
    stats: ModuleType = scipy.stats
    return stats
