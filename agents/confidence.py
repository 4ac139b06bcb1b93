"""Whether the leaves that were opened for a query look right.

The sign is a margin: by how much the worst of the hits is nearer to the query than the best leaf that was not
opened. How large it must be depends on encoder and kind of query, so it is compared with that of recent queries:
those with the smallest margins, a settled share, are given more work. That also bounds what they cost.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable

import numpy as np

RECENT = 512
"""Queries of a kind that a margin is compared with."""
FEWEST = 64
"""Before so many were seen, none is told apart."""
_ANEW = 16


class Confidence:
    """Tells queries with small margins, a `share` of all. Thread-safe."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._recent: dict[Hashable, deque[float]] = {}
        self._bounds: dict[Hashable, float] = {}
        self._since: dict[Hashable, int] = {}

    def is_low(self, margin: float, *, kind: Hashable) -> bool:
        """Whether `margin` is among the smallest of queries of this kind, and note it. Never before 64 queries."""
        if self._share <= 0:
            return False
        with self._lock:
            recent = self._recent.setdefault(kind, deque(maxlen=RECENT))
            recent.append(margin)
            self._since[kind] = self._since.get(kind, 0) + 1
            if len(recent) >= FEWEST and self._since[kind] >= _ANEW:
                self._since[kind] = 0
                self._bounds[kind] = float(np.quantile(recent, self._share, method="lower"))
            return margin < self._bounds.get(kind, -np.inf)

    def is_still_low(self, margin: float, *, kind: Hashable) -> bool:
        """The same of a query that was given more work: it is not noted again."""
        with self._lock:
            return margin < self._bounds.get(kind, -np.inf)
