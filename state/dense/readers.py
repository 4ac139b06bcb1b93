"""Who is still reading: a place is used again only when nobody can hold it from before."""

from __future__ import annotations

import threading


class Readers:
    """Readers enter and leave; a writer asks whether all that came before a moment have left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moment = 0
        self._inside: dict[int, int] = {}

    def enter(self) -> int:
        """Begin to read. Returns what `leave` wants back."""
        with self._lock:
            self._inside[self._moment] = self._inside.get(self._moment, 0) + 1
            return self._moment

    def leave(self, entered: int) -> None:
        """End what `enter` began."""
        with self._lock:
            self._inside[entered] -= 1
            if self._inside[entered] == 0:
                del self._inside[entered]

    def moment(self) -> int:
        """A moment: who enters from now on comes after it."""
        with self._lock:
            self._moment += 1
            return self._moment

    def gone_before(self, moment: int) -> bool:
        """Whether all readers that came before `moment` have left."""
        with self._lock:
            return all(entered >= moment for entered in self._inside)
