"""How likely a position is to be looked at, from clicks on lists in which neighbours were swapped at random.

In a pair whose two documents were put in either order by chance, both positions hold equally good documents on
average: what differs in their clicks is examination (FairPairs: Radlinski and Joachims, "Minimally Invasive
Randomization for Collecting Unbiased Preferences from Clickthrough Logs", AAAI 2006). The law fitted to it is
1 / position ** exponent (Joachims, Swaminathan and Schnabel, WSDM 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PRIOR_EXPONENT = 1.0
PRIOR_WEIGHT = 8.0
"""How much the prior counts, in units of the information that clicks bring."""
POSITIONS = 1_000
"""So many a query may ask for."""
_LIMITS = (0.0, 2.0)
_STEPS = 50


def fit_exponent(pairs: Mapping[int, Sequence[float]]) -> float:
    """The exponent from clicks on swapped pairs: by the upper position k, clicks at k and at k + 1.

    A click on a pair is on its lower position with probability 1 / (1 + ((k + 1) / k) ** exponent). Newton's
    method on that likelihood, times a normal prior around 1.
    """
    upper = np.array(sorted(pairs), dtype=np.float64)
    clicks = np.array([pairs[int(k)] for k in upper], dtype=np.float64).reshape(-1, 2)
    ratios = np.log((upper + 1) / upper)
    exponent = PRIOR_EXPONENT
    for _ in range(_STEPS):
        lower = 1 / (1 + np.exp(exponent * ratios))
        both = clicks.sum(axis=1)
        slope = ((both * lower - clicks[:, 1]) * ratios).sum() - PRIOR_WEIGHT * (exponent - PRIOR_EXPONENT)
        information = (both * lower * (1 - lower) * ratios**2).sum() + PRIOR_WEIGHT
        step = slope / information
        exponent = float(np.clip(exponent + step, *_LIMITS))
        if abs(step) < 1e-9:
            break
    return exponent


def examination(positions: int, exponent: float) -> NDArray[np.float64]:
    """The probability (positions,) that each position is looked at."""
    return np.asarray(np.arange(1, positions + 1) ** -exponent, dtype=np.float64)
