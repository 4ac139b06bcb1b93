"""Following a topic of one partition into rows on disk: a start reads what came since, not the whole topic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from agents.following import Follower
from state.topic_rows import TopicRecord, TopicRows
from streams.errors import StateError
from streams.records import Record
from streams.settings import Settings

log = structlog.get_logger()

_BATCH = 1_000

R = TypeVar("R", bound=TopicRecord)
T = TypeVar("T")


class DiskFollower(Follower, Generic[R]):
    """Puts records into `rows`. Where something was deleted the files are rewritten once the topic is read."""

    def __init__(self, settings: Settings, name: str, rows: TopicRows[R]) -> None:
        super().__init__(settings, name)
        self._on_disk = rows
        self._batch: list[R] = []

    def read(self, record: Record) -> R:
        """Decode a record. Raises ValueError when it is none of this topic; it is then left out."""
        raise NotImplementedError

    def applied(self, records: Sequence[R]) -> None:
        """These are in the rows now."""

    @property
    def start_offset(self) -> int:
        return self._on_disk.next_offset

    def take(self, record: Record) -> None:
        try:
            self._batch.append(self.read(record))
        except ValueError as error:
            log.warning("left out", topic=record.topic, offset=record.offset, reason=str(error))
            return
        if len(self._batch) >= _BATCH or self.has_caught_up:
            self._apply()

    def at_end(self) -> None:
        self._apply()
        if self._on_disk.owes_compaction:
            self._on_disk.compact()

    def stop(self) -> None:
        super().stop()
        self._on_disk.close()

    def _apply(self) -> None:
        records, self._batch = self._batch, []
        self._on_disk.apply(records)
        self.applied(records)


def opened(open_: Callable[[Path], T], folder: Path) -> T:
    """Open rows; where that raises StateError the folder is deleted: the topic rebuilds them."""
    try:
        return open_(folder)
    except StateError as error:
        log.warning("rows deleted, the topic rebuilds them", path=str(folder), reason=str(error))
        shutil.rmtree(folder, ignore_errors=True)
        return open_(folder)
