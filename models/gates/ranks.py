"""What a rank is worth, and checks of the arrays that gates judge by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.errors import GateError

Floats = NDArray[np.float64]
DEPTH = 10
"""People look at so many hits, and nDCG ends there."""


def discounts(ranks: Floats) -> Floats:
    """1 / log2(1 + rank) within the first ten, else 0: (n,) from ranks (n,), counted from 1.

    Of the one document that is wanted this is nDCG@10 (Järvelin and Kekäläinen, TOIS 2002).
    """
    return np.where(ranks <= DEPTH, 1 / np.log2(1 + np.minimum(ranks, DEPTH)), 0.0)


def checked_ranks(name: str, ranks: ArrayLike) -> Floats:
    """Ranks (n,) from 1; infinity: not found. Raises GateError."""
    found = np.asarray(ranks, dtype=np.float64)
    if found.ndim != 1:
        raise GateError(f"{name} has {found.ndim} dimensions, one is expected", field=name)
    if not np.all(found >= 1):  # also false for NaN
        raise GateError(f"{name} has ranks below 1: they count from 1, infinity is for not found", field=name)
    return found


def checked_within(name: str, values: ArrayLike, low: float, high: float) -> Floats:
    """Numbers (n,) from low to high. Raises GateError."""
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise GateError(f"{name} has {found.ndim} dimensions, one is expected", field=name)
    if not np.all((found >= low) & (found <= high)):
        raise GateError(f"{name} has values that are not from {low:g} to {high:g}", field=name)
    return found


def check_lengths(**arrays: NDArray[Any]) -> None:
    """All of one length. Raises GateError."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise GateError(f"the arrays differ in length: {shown}", field=next(iter(lengths)))
