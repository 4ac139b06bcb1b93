"""The dense path of a searcher: a graph of near neighbours that follows the live index behind its back.

Up to `index.exact_up_to` documents all are scored exactly and there is no graph. A snapshot shortens the start;
what changed since comes from the shard, what comes in later from the log, one document after the other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from state.dense import DenseFollower, DenseIndex
from state.live_index import Change, LiveDocument, LiveIndex, in_numbers
from streams.errors import StateError
from streams.settings import Settings

log = structlog.get_logger()

EXPANSION = 96
"""Nodes kept on a walk; found and scored again exactly, that is recall 0.99 on real vectors."""
SNAPSHOT_EVERY_S = 300.0
_FILE = "graph.bin"

Vector = NDArray[np.float32]
Slots = NDArray[np.int64]


class DenseFeed:
    """Feeds a graph from the live index. `load` before any search; then `take` on the thread of the replica."""

    def __init__(self, settings: Settings, folder: Path, *, index: LiveIndex, stamp: str) -> None:
        self._exact_up_to = settings.index.exact_up_to
        self._path = folder / _FILE
        self._live = index
        self._stamp = stamp
        self._identities: NDArray[np.int64] = np.zeros(1_024, dtype=np.int64)
        self._changes = 0
        self._saved_at, self._saved_changes = time.monotonic(), 0
        self._follower: DenseFollower | None = None

    def note(self, changes: Sequence[Change]) -> Slots:
        """Remember what documents hold; the slots of those whose content changed."""
        changed = []
        for change in changes:
            slot = self._live.slot_of(change.document_id)
            if slot is None or not isinstance(change, LiveDocument):
                continue
            if slot >= len(self._identities):
                self._identities = np.resize(self._identities, 2 * slot)
            identity = _identity(change)
            if self._identities[slot] != identity:
                self._identities[slot] = identity
                changed.append(slot)
        return np.array(changed, dtype=np.int64)

    def load(self) -> None:
        """Take the graph from the disk, when all documents are noted, and queue what it does not have."""
        if len(self._live) <= self._exact_up_to:
            return
        started = time.perf_counter()
        slots = in_numbers(self._live.every())
        graph = self._read(slots)
        self._begin(graph or DenseIndex(self._live.dimension))
        seconds = round(time.perf_counter() - started, 3)
        log.info("dense path loaded", from_disk=graph is not None, behind=self.behind, seconds=seconds)

    def take(self, changes: Sequence[Change], gone: Sequence[int]) -> None:
        """Follow changes that the live index has; gone: slots whose documents were removed."""
        changed = self.note(changes)
        if self._follower is None:
            if len(self._live) > self._exact_up_to:
                self._begin(DenseIndex(self._live.dimension))
            return
        for slot in [*gone, *changed.tolist()]:
            self._changes += 1
            self._follower.changed(slot, at=self._changes)

    def search(self, direction: Vector, k: int, *, allowed: NDArray[np.bool_] | None) -> Slots | None:
        """Slots of about the k nearest documents, best first; None while it holds too little to be asked."""
        follower = self._follower
        if follower is None or 10 * follower.behind > len(self._live):
            return None
        slots, _ = follower.index.search(direction, k, expansion=max(EXPANSION, k), allowed=allowed)
        return slots

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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._follower.save(self._path, stamp=self._stamp)
        log.info("dense path saved", documents=len(self._follower.index))

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()

    def _begin(self, graph: DenseIndex) -> None:
        self._follower = follower = DenseFollower(graph, self._content)
        for slot in in_numbers(self._live.every()).tolist():
            if slot not in graph:
                self._changes += 1
                follower.changed(slot, at=self._changes)

    def _content(self, slot: int) -> tuple[int, Sequence[Vector]] | None:
        with self._live.reading():
            vectors = self._live.vectors(slot)
            return (int(self._identities[slot]), list(vectors)) if len(vectors) else None

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


def _identity(document: LiveDocument) -> int:
    """64 bits that no other content of any document has."""
    content = hashlib.blake2b(document.document_id.encode(), digest_size=8)
    for kind, vector in document.vectors:
        content.update(kind.encode() + vector.tobytes())
    return int.from_bytes(content.digest(), signed=True)
