"""When a batch begins: at once where records come one by one, after a rest where more of them are on their way.

Each batch is a transaction, which costs as much as several records, here and in Kafka. A rest makes fewer of them.
"""

from __future__ import annotations

import math

LONGEST_REST_S = 0.2
"""From the beginning of one batch to that of the next, at most, for the sake of larger ones."""
WORTH = 2.0
"""Records that have to be expected within that time; below, nothing is gained by waiting for them."""

_WINDOW_S = 1.0


class Pacing:
    """The rests of one partition. Times are those of a monotonic clock, in seconds.

    The rate of records is an exponential moving average over about a second, weighted by time.
    """

    def __init__(self) -> None:
        self._rate = 0.0
        self._began = -math.inf

    def began(self, now: float, count: int) -> None:
        """A batch of so many records begins."""
        passed = max(now - self._began, 1e-3)
        self._rate += -math.expm1(-passed / _WINDOW_S) * (count / passed - self._rate)
        self._began = now

    def is_fast(self, now: float) -> bool:
        """Whether enough records are to be expected within a rest, and the last batch is not long past."""
        return now - self._began <= _WINDOW_S and self._rate * LONGEST_REST_S >= WORTH

    def rest(self, now: float) -> float:
        """Seconds until the next batch should begin, 0 when at once."""
        return max(0.0, self._began + LONGEST_REST_S - now) if self.is_fast(now) else 0.0
