"""The words of all documents, kept beside the replica: filled at the start, then fed with records of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from agents.assignment_log import read_log
from state.lexical import LexicalChange, LexicalDocument, LexicalIndex, LexicalRemoval
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from streams.events.base import SourceAddress
from streams.settings import Settings

log = structlog.get_logger()

_BATCH = 1_024
_UNKNOWN = -1
_OFFSET_BITS = 48


class LexicalPath:
    """Feeds a lexical index. `start` comes when the live index is filled and the replica does not run yet.

    A record that only gives a document other ids names the source that it had before: its words are not read
    again. A new epoch would else be as much work here as all documents are, and hold up the replica.
    """

    def __init__(self, settings: Settings, folder: Path, *, index: LiveIndex, shard: Shard) -> None:
        """Raises StateError when the folder cannot be opened."""
        self._settings = settings
        self._live = index
        self._shard = shard
        self.index = LexicalIndex(folder)
        self._sources = np.full(1_024, _UNKNOWN, dtype=np.int64)
        """By slot, where the event stands that its words were read from, as far as this process knows."""

    @property
    def failure(self) -> Exception | None:
        """Why it takes in nothing more, if so."""
        return self.index.failure

    def start(self) -> None:
        """Bring it to where the shard is: from the log where it is little, from the shard where it is all."""
        started = time.perf_counter()
        self.index.attach((document_id, slot) for slot, document_id in self._live.items())
        positions = self._shard.positions()
        reached = self.index.positions
        is_new = not reached
        if is_new:
            self._fill()
            self.index.apply([], positions=positions)
        else:
            for partition, end in positions.items():
                self._read(partition, start=reached.get(partition, 0), end=end)
        seconds = round(time.perf_counter() - started, 3)
        log.info("lexical path filled", from_shard=is_new, changes=self.index.behind, seconds=seconds)

    def take(self, records: Sequence[LogRecord], *, again: bool = False) -> None:
        """Take in records of the log that the live index has taken in. again: also words that were read before."""
        positions = {record.partition: record.offset + 1 for record in records}
        self.index.apply(list(self._changes(records, again=again)), positions=positions)

    def sources(self) -> NDArray[np.int64]:
        """By slot, where the event stands that its words were read from, a copy; for `begin_with`."""
        return self._sources.copy()

    def begin_with(self, sources: NDArray[np.int64]) -> None:
        """Before `start`: what `sources` gave when the live index was as it is now, or before."""
        self._sources = sources

    def close(self) -> None:
        self.index.close()

    def _changes(self, records: Sequence[LogRecord], *, again: bool = False) -> Iterator[LexicalChange]:
        for record in records:
            slot = self._live.slot_of(record.key)
            if record.tombstone is not None:
                yield LexicalRemoval(record.key)
            elif record.assignment is not None and slot is not None:  # else it is removed in this batch
                given = record.assignment
                is_new = self._is_new(slot, given.source)
                if not (is_new or again):
                    continue
                yield LexicalDocument(
                    record.key,
                    slot,
                    title=given.title,
                    text=given.text,
                    tags=given.tags,
                    language=given.language,
                )

    def _is_new(self, slot: int, source: SourceAddress) -> bool:
        """Whether the words come from another event than those that this slot had last; they are noted."""
        if slot >= len(self._sources):
            more = np.full(2 * slot - len(self._sources), _UNKNOWN, dtype=np.int64)
            self._sources = np.concatenate([self._sources, more])
        address = source.partition << _OFFSET_BITS | source.offset
        is_new = bool(self._sources[slot] != address)
        self._sources[slot] = address
        return is_new

    def _fill(self) -> None:
        documents = self._stored()
        while batch := list(islice(documents, _BATCH)):
            self.index.apply(batch, positions={})

    def _stored(self) -> Iterator[LexicalDocument]:
        for document_id, _, stored, _ in self._shard.documents():
            slot = self._live.slot_of(document_id)
            if slot is not None:
                yield LexicalDocument(
                    document_id,
                    slot,
                    title=stored.title,
                    text=stored.text,
                    tags=stored.tags,
                    language=stored.language,
                )

    def _read(self, partition: int, *, start: int, end: int) -> None:
        """What was written between its last commit and the end of the work before."""
        for _, records in read_log(self._settings, partition=partition, start=start, end=end):
            self.take(records, again=True)  # what was read from these may not have been committed
