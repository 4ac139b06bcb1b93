"""The dense index follows the documents: changes wait in a queue, and one thread works it off.

The other paths have a change at once. This one may fall behind while much comes in, says by how much, and
keeps nobody waiting. A document that was changed or removed is not answered from its old vectors meanwhile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from state.dense.index import DenseIndex
from streams.errors import StateError

Content = tuple[int, Sequence[NDArray[np.float32]]]
ReadSlot = Callable[[int], Content | None]
"""What a slot holds now: the identity of its content, and its vectors. None when it is empty."""

_MENDED_A_CHANGE = 32
"""Lists mended beside each change. Mending begins when one node in 20 is removed: 20 would keep up."""
_MENDED_AT_REST = 256
_REST_S = 0.01
_log = structlog.get_logger()


class DenseFollower:
    """Keeps a `DenseIndex` up with documents that change in other threads."""

    def __init__(self, index: DenseIndex, read: ReadSlot) -> None:
        """`read` is called in the thread of the follower."""
        self.index = index
        self._read = read
        # Ordered: of a plain dictionary, the first of a million takes ever longer to find as they are taken out.
        self._waiting: OrderedDict[int, int] = OrderedDict()
        self._in_hand: int | None = None
        self._told = -1
        self._wake = threading.Condition()
        self._saves: list[tuple[Path, str, Future[None]]] = []
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dense-follower", daemon=True)
        self._thread.start()

    def changed(self, slot: int, *, at: int) -> None:
        """The document of a slot is new, changed or gone. What the slot had is not answered from now on.

        `at` counts the changes and only rises. Call it after the change can be read, under the lock that
        keeps `read` from seeing half of it. Raises StateError when the follower has failed.
        """
        self.index.remove(slot)
        with self._wake:
            self._check()
            self._told = at
            self._waiting.setdefault(slot, at)
            self._wake.notify()

    @property
    def behind(self) -> int:
        """How many documents wait for their vectors to be searchable."""
        with self._wake:
            return len(self._waiting) + (self._in_hand is not None)

    @property
    def reached(self) -> int:
        """All changes up to this `at` are searchable; -1 before the first."""
        with self._wake:
            if self._in_hand is not None:
                return self._in_hand - 1
            return next(iter(self._waiting.values()), self._told + 1) - 1

    def save(self, path: Path, *, stamp: str) -> None:
        """Write a snapshot, between two changes. Returns when it is on disk; searches go on meanwhile."""
        saved: Future[None] = Future()
        with self._wake:
            self._check()
            self._saves.append((path, stamp, saved))
            self._wake.notify()
        saved.result()

    def close(self) -> None:
        """Stop after the change in hand. Changes that still wait are not made."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _check(self) -> None:
        if self._failure is not None:
            raise StateError("the dense path has stopped: restart, it is built again") from self._failure

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as failure:
            _log.exception("dense_follower_failed")
            with self._wake:
                self._failure = failure
        with self._wake:
            for _, _, saved in self._saves:
                saved.set_exception(StateError("the dense path was stopped before its snapshot was written"))

    def _step(self) -> bool:
        """One save, one change or some mending at rest. Returns whether to go on."""
        with self._wake:
            if self._stopping:
                return False
            save = self._saves.pop(0) if self._saves else None
            slot = None if save is not None else self._next_slot()
        if save is not None:
            self._save(*save)
        elif slot is not None:
            self._follow(slot)
        else:
            self._rest()
        return True

    def _next_slot(self) -> int | None:
        slot = next(iter(self._waiting), None)
        if slot is not None:
            self._in_hand = self._waiting.pop(slot)
        return slot

    def _follow(self, slot: int) -> None:
        version = self.index.version(slot)
        content = self._read(slot)
        if content is not None:
            identity, vectors = content
            self.index.put(slot, vectors, identity=identity, version=version)
        self.index.upkeep(_MENDED_A_CHANGE)
        with self._wake:
            self._in_hand = None

    def _rest(self) -> None:
        more = self.index.upkeep(_MENDED_AT_REST)
        with self._wake:
            if not (self._waiting or self._saves or self._stopping):
                self._wake.wait(_REST_S if more else None)

    def _save(self, path: Path, stamp: str, saved: Future[None]) -> None:
        try:
            self.index.save(path, stamp=stamp)
        except OSError as error:
            saved.set_exception(StateError(f"the dense snapshot {path} cannot be written: {error}"))
        else:
            saved.set_result(None)
