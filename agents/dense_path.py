"""The dense path of a searcher: a graph of near neighbours that follows the live index behind its back.

Up to `index.exact_up_to` documents all are scored exactly and there is no graph. A snapshot shortens the start;
what changed since comes from the shard, what comes in later from the log, one document after the other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from state.dense import DenseFollower, DenseIndex
from state.dense.enlarging import enlarged, more_than
from state.live_index import Change, LiveDocument, LiveIndex, in_numbers
from streams.errors import StateError
from streams.settings import Settings

log = structlog.get_logger()

EXPANSION = 96
"""Nodes kept on a walk; found and scored again exactly, that is recall 0.99 on real vectors."""
SNAPSHOT_EVERY_S = 300.0
_FILE = "graph.bin"
_NO_CONTENT = 0
"""Identity of a slot that is empty or in the midst of a change."""

Vector = NDArray[np.float32]
Slots = NDArray[np.int64]
Content = tuple[str, int]
"""A document id and the identity of what it holds."""


class DenseFeed:
    """Feeds a graph from the live index.

    `note` what is there and `load` before any search; then apply changes inside of `following`, in one thread.
    """

    def __init__(self, settings: Settings, folder: Path, *, index: LiveIndex, stamp: str) -> None:
        self._exact_up_to = settings.index.exact_up_to
        self._path = folder / _FILE
        self._live = index
        self._stamp = stamp
        self._identities: NDArray[np.int64] = np.zeros(1_024, dtype=np.int64)
        self._changes = 0
        self._saved_at, self._saved_changes = time.monotonic(), 0
        self._follower: DenseFollower | None = None

    def note(self, changes: Sequence[Change]) -> None:
        """Remember what documents hold; the live index has them already."""
        self._identify(_contents(changes))

    def identities(self) -> NDArray[np.int64]:
        """By slot what its document holds, a copy; for `identified`."""
        return self._identities.copy()

    def identified(self, identities: NDArray[np.int64]) -> None:
        """In place of `note`: what `identities` gave when the live index was as it is now, or before."""
        self._identities = identities

    def load(self) -> None:
        """Take the graph from the disk, when all documents are noted, and queue what it does not have."""
        if len(self._live) <= self._exact_up_to:
            return
        started = time.perf_counter()
        slots = in_numbers(self._live.every())
        graph = self._read(slots)
        self._begin(DenseIndex(self._live.dimension) if graph is None else graph)
        seconds = round(time.perf_counter() - started, 3)
        log.info("dense path loaded", from_disk=graph is not None, behind=self.behind, seconds=seconds)

    @contextmanager
    def following(self, changes: Sequence[Change]) -> Iterator[None]:
        """Apply `changes` to the live index inside of it; the graph follows.

        Meanwhile their slots have no identity, so that a snapshot never has the vectors of one content under
        the identity of another.
        """
        contents = _contents(changes)
        left = self._forget(contents)
        yield
        told = [*left, *self._identify(contents)]
        if self._follower is not None:
            self._tell(self._follower, dict.fromkeys(told))
        elif len(self._live) > self._exact_up_to:
            self._begin(DenseIndex(self._live.dimension))

    def search(self, direction: Vector, k: int, *, allowed: NDArray[np.bool_] | None) -> Slots | None:
        """Slots of about the k nearest documents, best first; None while it holds too little to be asked."""
        follower = self._follower
        if follower is None or 10 * follower.behind > len(self._live):
            return None
        slots, _ = follower.index.search(direction, k, expansion=max(EXPANSION, k), allowed=allowed)
        return slots

    @property
    def is_used(self) -> bool:
        """Whether there is a graph: there are too many documents to score all of them."""
        return self._follower is not None

    @property
    def behind(self) -> int:
        """How many documents it has not taken in yet."""
        return 0 if self._follower is None else self._follower.behind

    def save_when_due(self) -> None:
        """Write a snapshot now and then, when something changed. Takes seconds; searches go on."""
        if time.monotonic() - self._saved_at > SNAPSHOT_EVERY_S and self._saved_changes != self._changes:
            self.save()

    def save(self) -> None:
        """Write a snapshot. Takes seconds; searches go on."""
        if self._follower is None:
            return
        self._saved_at, self._saved_changes = time.monotonic(), self._changes
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._follower.save(self._path, stamp=self._stamp)
        except (OSError, StateError) as error:  # the one before is still good, and changes are not lost
            log.warning("the dense path cannot be saved", reason=str(error))
        else:
            log.info("dense path saved", documents=len(self._follower.index))

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()

    def _begin(self, graph: DenseIndex) -> None:
        self._follower = DenseFollower(graph, self._content)
        every = in_numbers(self._live.every()).tolist()
        self._tell(self._follower, [slot for slot in every if slot not in graph])

    def _tell(self, follower: DenseFollower, slots: Iterable[int]) -> None:
        for slot in slots:
            self._changes += 1
            follower.changed(slot, at=self._changes)

    def _forget(self, contents: Sequence[Content]) -> list[int]:
        """Take their identity from slots that lose their content; returns them."""
        left = []
        for document_id, identity in contents:
            slot = self._live.slot_of(document_id)
            if slot is not None and self._identities[slot] != identity:
                self._identities[slot] = _NO_CONTENT
                left.append(slot)
        return left

    def _identify(self, contents: Sequence[Content]) -> list[int]:
        """Give slots the identity of what they hold now; returns those that had another."""
        changed = []
        for document_id, identity in dict(contents).items():
            slot = self._live.slot_of(document_id)
            if slot is None:
                continue
            if slot >= len(self._identities):
                self._identities = enlarged(self._identities, more_than(slot))
            if self._identities[slot] != identity:
                self._identities[slot] = identity
                changed.append(slot)
        return changed

    def _content(self, slot: int) -> tuple[int, Sequence[Vector]] | None:
        """What a slot holds; None when it is empty or about to change: then it is told again."""
        with self._live.reading():
            before = int(self._identities[slot])
            vectors = self._live.vectors(slot)
            after = int(self._identities[slot])
            held = len(vectors) and before == after != _NO_CONTENT
            return (after, list(vectors)) if held else None

    def _read(self, slots: Slots) -> DenseIndex | None:
        if not self._path.exists():
            return None
        try:
            return DenseIndex.load(
                self._path,
                stamp=self._stamp,
                slots=slots.astype(np.int32),
                identities=self._identities[slots],
            )
        except StateError as error:
            log.warning("the snapshot of the dense path cannot be used: it is built again", reason=str(error))
            self._path.unlink(missing_ok=True)
            return None


def _contents(changes: Sequence[Change]) -> list[Content]:
    return [
        (change.document_id, _identity(change) if isinstance(change, LiveDocument) else _NO_CONTENT)
        for change in changes
    ]


def _identity(document: LiveDocument) -> int:
    """64 bits that no other content of any document has."""
    content = hashlib.blake2b(document.document_id.encode(), digest_size=8)
    for kind, vector in document.vectors:
        content.update(kind.encode() + vector.tobytes())
    return int.from_bytes(content.digest(), signed=True)
