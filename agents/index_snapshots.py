"""Snapshots of a searcher's live index: written now and then, and read at the start in place of all documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from agents.assignment_log import read_log
from agents.dense_path import DenseFeed
from agents.lexical_path import LexicalPath
from state.archives import check_archive
from state.live_documents import live_changes
from state.live_index import LiveIndex
from state.live_snapshot import LiveNote, read_live, read_note, write_live
from state.shard import Shard
from streams.errors import StateError
from streams.settings import Settings

log = structlog.get_logger()

_FILE = "index.npz"
_IDENTITIES, _SOURCES = "identities", "sources"
_WORTH_IT = 0.05
"""A snapshot is due when so much of the log, against the number of documents, came since the last one."""
_PATIENCE = 30
"""And after so many times the usual pause for less."""

Positions = Mapping[int, int]


class IndexSnapshots:
    """Writes and reads the snapshots of one live index, with what the other paths know of its contents."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        index: LiveIndex,
        dense: DenseFeed,
        lexical: LexicalPath,
        cluster: str,
        stamp: str,
    ) -> None:
        self._settings = settings
        self._path = folder / _FILE
        self._every_s = settings.index.snapshot_every_s
        self._trusted_s = settings.retention.tombstones_h * 3_600
        self._index = index
        self._dense = dense
        self._lexical = lexical
        self._cluster = cluster
        self._stamp = stamp
        self._saved_at, self._saved = time.monotonic(), 0

    def load(self, shard: Shard) -> bool:
        """Fill the index, which has its trees and no documents, up to where the shard is; then True.

        False where there is no snapshot, or one that cannot be trusted: damaged, of another encoder or cluster,
        older than the tombstones of the log, or ahead of the shard. Raises BrokerError when Kafka does not answer.
        """
        started = time.perf_counter()
        reached = shard.positions()
        try:
            note = read_note(self._path) if self._path.exists() else None
            reason = "there is no snapshot" if note is None else self._distrust(note, reached)
        except StateError as error:
            note, reason = None, str(error)
        if note is None or reason:
            log.info("the index is filled from the shard", reason=reason)
            return False
        more = read_live(self._path, self._index)
        self._dense.identified(more[_IDENTITIES])
        self._lexical.begin_with(more[_SOURCES])
        self._saved = sum(note.positions.values())
        later = sum(self._read(partition, note.positions, end) for partition, end in reached.items())
        seconds = round(time.perf_counter() - started, 3)
        log.info("index read from its snapshot", documents=len(self._index), later=later, seconds=seconds)
        return True

    def save_when_due(self, positions: Callable[[], Positions]) -> None:
        """`save` now and then, where it makes the next start shorter."""
        waited_s = time.monotonic() - self._saved_at
        came = sum(positions().values()) - self._saved
        is_much = came >= max(1, _WORTH_IT * len(self._index))
        if waited_s > self._every_s and (is_much or (came and waited_s > _PATIENCE * self._every_s)):
            self.save(positions)

    def save(self, positions: Callable[[], Positions]) -> None:
        """Write a snapshot; takes seconds, nobody waits. `positions`: up to where changes were applied by now."""
        started = time.perf_counter()
        # In this order: what comes in between is applied again, and compared with older identities.
        reached = dict(positions())
        more = {_IDENTITIES: self._dense.identities(), _SOURCES: self._lexical.sources()}
        note = LiveNote(
            stamp=self._stamp,
            cluster=self._cluster,
            dimension=self._index.dimension,
            saved_at=time.time(),
            positions=reached,
        )
        self._saved_at, self._saved = time.monotonic(), sum(reached.values())
        try:
            write_live(self._path, self._index, note, more=more)
        except OSError as error:  # the one before is still good
            log.warning("the index cannot be saved", reason=str(error))
        else:
            seconds = round(time.perf_counter() - started, 3)
            log.info("index saved", documents=len(self._index), seconds=seconds)

    def _read(self, partition: int, positions: Positions, end: int) -> int:
        """Apply what came into the log after the snapshot; how many records."""
        count, start = 0, positions.get(partition, 0)
        for batch, records in read_log(self._settings, partition=partition, start=start, end=end):
            times = {(record.partition, record.offset): record.timestamp_ms for record in batch}
            changes = list(live_changes(records, stamp=self._stamp, timestamps=times))
            self._index.apply(changes)
            self._dense.note(changes)
            count += len(batch)
        return count

    def _distrust(self, note: LiveNote, reached: Positions) -> str | None:
        if note.stamp != self._stamp:
            return f"the snapshot is of another encoder ({note.stamp})"
        if note.cluster != self._cluster:
            return "the snapshot is of another cluster"
        if time.time() - note.saved_at > self._trusted_s:
            return "the snapshot is older than the tombstone retention"
        if any(reached.get(partition, 0) < position for partition, position in note.positions.items()):
            return "the shard is behind the snapshot"
        # All of it before the first row is taken: an index half filled is of no use.
        check_archive(self._path)
        return None
