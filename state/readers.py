"""Who is reading: memory that was given up is used again only when nobody can still be looking at it.

Epoch-based reclamation (Fraser, 2004): the writer takes something out of the structure, notes the version
at which it did so, and frees it when every reader that is still at work began after that version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Readers:
    """The readers of one structure. Entering costs well under a microsecond and never waits."""

    def __init__(self) -> None:
        self._version = 0
        self._began_at: dict[int, int] = {}
        self._names = count()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this is held, nothing that a reader finds is used for something else."""
        name = next(self._names)
        # Registered before the first look at the structure: what was taken out until now cannot be found.
        self._began_at[name] = self._version
        try:
            yield
        finally:
            del self._began_at[name]

    def retire(self) -> int:
        """The version at which the writer took something out. The writer calls it after doing so."""
        self._version += 1
        return self._version - 1

    def oldest(self) -> int:
        """The version at which the oldest reader began; the current one when nobody reads."""
        # A copy: readers come and go meanwhile. `list` of a dict's values is one step under the GIL.
        return min(list(self._began_at.values()), default=self._version)


class Retired(Generic[T]):
    """Things taken out of a structure, in order, that wait until no reader can hold them. For the writer."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._waiting: deque[tuple[int, T]] = deque()

    def add(self, thing: T) -> None:
        """`thing` is out of the structure already."""
        self._waiting.append((self._readers.retire(), thing))

    def free(self) -> list[T]:
        """What nobody can hold any more."""
        if not self._waiting:
            return []
        oldest = self._readers.oldest()
        freed = []
        while self._waiting and self._waiting[0][0] < oldest:
            freed.append(self._waiting.popleft()[1])
        return freed

    def __len__(self) -> int:
        return len(self._waiting)
