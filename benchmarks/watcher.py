"""A live index like the searcher's, in the benchmark's own process: it sees when a document is searchable."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from agents.replica import Replica, wait_until_ready
from agents.sensors import Sensor
from models.encoders.registry import describe_encoder
from state.live_documents import live_document
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from streams.settings import Settings


class Watcher:
    """Follows the index log exactly as a searcher does; `seen` has the moment each document became findable."""

    def __init__(self, settings: Settings) -> None:
        description = describe_encoder(settings.encoder)
        self.stamp, self.dimension = description.stamp, description.dimension
        self.seen: dict[str, float] = {}
        self._last = 0.0
        self._index = LiveIndex(self.dimension)
        self._folder = tempfile.TemporaryDirectory(prefix="trieflow-watcher-")
        self._shard = Shard.open(Path(self._folder.name) / "replica")
        self._arrived = threading.Condition()
        self._replica = Replica(settings, self._shard, sensor=Sensor(), on_records=self._take)

    def __enter__(self) -> Watcher:
        self._replica.start()
        wait_until_ready(self._replica, timeout_s=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replica.stop()
        self._shard.close()
        self._folder.cleanup()

    @property
    def count(self) -> int:
        """How many documents were seen."""
        return len(self.seen)

    def count_at_start_of(self, sent: Mapping[str, float]) -> int:
        """How many were seen that are not among these."""
        return sum(1 for document_id in list(self.seen) if document_id not in sent)

    def wait_for(self, count: int, *, timeout_s: float) -> None:
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.count >= count, timeout_s):
                raise TimeoutError(f"{self.count} of {count} documents were indexed within {timeout_s} s")

    def busy_since(self, started: float) -> float:
        """Seconds from `started` to the last document that was seen."""
        return self._last - started

    def _take(self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]) -> None:
        named = [(r.key, r.assignment) for r in records if r.assignment is not None]
        self._index.apply([live_document(key, assignment, stamp=self.stamp) for key, assignment in named])
        now = time.perf_counter()
        with self._arrived:
            for key, _ in named:
                self.seen.setdefault(key, now)
            self._last = now
            self._arrived.notify_all()
