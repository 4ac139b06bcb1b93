"""Functions compiled by numba. Compiled code is cached on disk, so only the first start ever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

# Sums may be reordered (vector instructions), but infinities keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def compiled(function: F) -> F:
    """Compile at the first call; the GIL is released while it runs."""
    try:
        return cast("F", numba.njit(cache=True, nogil=True, fastmath=_FAST)(function))
    except RuntimeError:  # no folder for the cache can be written, as on a read-only file system
        return cast("F", numba.njit(nogil=True, fastmath=_FAST)(function))
