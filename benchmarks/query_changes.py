"""Changes as the log brings them, for `trieflow bench query`: new documents, changed ones, removals, moves."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agents.assignment_log import LogEntry
from benchmarks.query_documents import EPOCH, Documents, document_id
from benchmarks.query_searcher import PARTITION, BareSearcher
from benchmarks.train_lite.progress import tracked
from models.codebooks import Codebook, Decision, split
from state.records import LogRecord, Tombstone
from streams.events.assignments import Assignment, EpochId
from streams.events.base import SourceAddress
from streams.records import Record
from streams.semantic_id import INSTANCES, Leaf, SemanticId

if TYPE_CHECKING:
    from state.shard import Shard

_AT_ONCE = 1_024
_NEW, _CHANGED = 0.4, 0.3
"""Shares of changes; what is left are removals."""
_FIRST_EVENT = 1 << 32
"""Offset in `documents` of the first change; below it are the documents."""


def fill_shard(shard: Shard, documents: Documents) -> None:
    """All documents, as a replica folds them; what is there already is skipped."""
    first = shard.position(PARTITION)
    starts = range(first, len(documents), _AT_ONCE)
    for at in tracked(starts, total=len(starts), label="fill the shard  "):
        rows = range(at, min(len(documents), at + _AT_ONCE))
        shard.apply(
            [LogRecord(PARTITION, row, document_id(row), documents.assignment(row), None) for row in rows]
        )


class Changes:
    """Records to be numbered when they are taken; each has an id of its own in its leaf."""

    def __init__(self, searcher: BareSearcher, documents: Documents, *, seed: int) -> None:
        self._shard = searcher.shard
        self._documents = documents
        self._random = np.random.default_rng(seed)
        run = self._shard.position(PARTITION)
        self._names = (f"new-{run}-{number}" for number in itertools.count())
        self._added: deque[tuple[str, int]] = deque()
        self._given: dict[int, int] = {}
        self._events = itertools.count(_FIRST_EVENT + run)

    def records(self, count: int) -> list[Record]:
        """So many changes in the mix of a publisher that keeps the number of documents about as it is."""
        return [self._record() for _ in range(count)]

    def moves(self, searcher: BareSearcher, decision: Decision) -> list[Record]:
        """What the indexers write when the curator asks them to move documents."""
        moved = zip(decision.documents.tolist(), decision.to_leaves.tolist(), strict=True)
        named = [(searcher.index.document_id(slot), leaf) for slot, leaf in moved]
        return [
            self._assigned(key, self._documents.assignment(int(key.rpartition("-")[2])), leaf)
            for key, leaf in named
            if key is not None and key.startswith("document-")
        ]

    def _record(self) -> Record:
        kind = self._random.random()
        row = int(self._random.integers(len(self._documents)))
        content, leaf = self._documents.assignment(row), int(self._documents.leaves[row])
        content = content.model_copy(update={"source": self._event()})
        if kind < _NEW or (kind >= _NEW + _CHANGED and not self._added):
            key = next(self._names)
            record = self._assigned(key, content, leaf)
            self._added.append((key, self._given[leaf]))
            return record
        if kind < _NEW + _CHANGED:
            return self._assigned(
                document_id(int(self._random.integers(len(self._documents)))), content, leaf
            )
        key, _ = self._added.popleft()
        return self._as_record(LogEntry(key, "", [], tombstone=Tombstone({}, None, self._event())))

    def _event(self) -> SourceAddress:
        return SourceAddress(partition=0, offset=next(self._events))

    def _assigned(self, key: str, content: Assignment, leaf: int) -> Record:
        identity = SemanticId.of(Leaf.unpacked(leaf), self._next_instance(leaf))
        ids = [EpochId(epoch=EPOCH, semantic_id=str(identity))]
        return self._as_record(LogEntry(key, "", [], assignment=content.model_copy(update={"ids": ids})))

    def _next_instance(self, leaf: int) -> int:
        seen = self._given.get(leaf) or self._shard.next_instance(EPOCH, Leaf.unpacked(leaf))
        if seen >= INSTANCES:
            raise SystemExit(f"leaf {leaf} has no code left after so many runs: delete the folder")
        self._given[leaf] = seen + 1
        return seen

    def _as_record(self, entry: LogEntry) -> Record:
        return Record(
            topic="assignments",
            partition=PARTITION,
            offset=0,
            key=entry.key.encode(),
            value=entry.value(),
            headers=entry.headers(active_epoch=EPOCH),
        )


def splits(searcher: BareSearcher, book: Codebook, count: int) -> Iterator[Decision]:
    """What the curator would decide if these, the largest leaves, were too large."""
    path = searcher.index.path(EPOCH)

    def members(leaf: int) -> tuple[np.ndarray, np.ndarray]:
        slots = path.below(Leaf.unpacked(leaf))
        return slots, searcher.index.fused(slots)

    leaves, sizes = path.sizes()
    largest: Sequence[int] = leaves[np.argsort(-sizes, kind="stable")].tolist()
    for leaf in largest[:count]:
        decision = split(book, leaf, members)
        if decision is not None:
            book = book.apply(decision.changes)
            yield decision
