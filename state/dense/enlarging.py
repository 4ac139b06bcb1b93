"""Arrays that get longer."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def enlarged(array: NDArray[T], rows: int, fill: int = 0) -> NDArray[T]:
    """A copy with `rows` rows, the new ones filled. Zeros take no memory before they are written to."""
    shape = (rows, *array.shape[1:])
    larger = np.full(shape, fill, array.dtype) if fill else np.zeros(shape, array.dtype)
    larger[: len(array)] = array
    return larger


def more_than(rows: int) -> int:
    """Half as many again: memory is copied seldom, and not half of it lies idle."""
    return rows * 3 // 2 + 16
