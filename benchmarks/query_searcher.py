"""A searcher without Kafka, of the searcher's own objects, put together and started as `agents/searcher.py` does.

Each stage of the start is timed, and what memory it takes is noted: anonymous memory by the kernel's count, after
unused pages were given back. Changes come from here instead of the log, as bytes of a partition that no topic has.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from agents.asked import QueryVector
from agents.assignment_log import read_log_record
from agents.codebook_log import Codebooks
from agents.encoding import EncodingService
from agents.found import Found
from agents.index_snapshots import IndexSnapshots
from agents.interpreter import favour_answers
from agents.searchable import Searchable
from agents.sensors import Sensor
from agents.trees import IndexTrees
from models.codebooks import Codebook, LeafChange
from models.encoders.base import Encoder, TextPart
from state.live_documents import fill
from state.live_index import LiveDocument
from state.records import LogRecord
from state.shard import Shard
from streams.events.queries import Query, QueryPart
from streams.records import Record
from streams.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE = "searcher"
PARTITION = 1 << 20
"""What did not come by Kafka stands in this partition, which no replica reads."""
_STATUS = Path("/proc/self/status")
_WAIT_S = 0.05


@dataclass
class Measured:
    """Seconds and MB by stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)
    anonymous_mb: dict[str, float] = field(default_factory=dict)
    mapped_mb: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before = memory_mb()
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        after = memory_mb()
        self.anonymous_mb[name] = after["RssAnon"] - before["RssAnon"]
        self.mapped_mb[name] = after["RssFile"] - before["RssFile"]


def memory_mb() -> Mapping[str, float]:
    """Resident memory in MB: RssAnon is this process alone, RssFile are files mapped into it, VmHWM the peak."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    except (OSError, AttributeError):  # not Linux with glibc
        resident = psutil.Process().memory_info().rss / 1e6
        return {"RssAnon": resident, "RssFile": 0.0, "VmHWM": resident}
    return {name: int(lines[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssFile", "VmHWM")}


class BareSearcher:
    """Replica, live index, paths and encoder. One thread calls `take`, any number `ask`."""

    def __init__(self, settings: Settings, encoder: Encoder, book: Codebook) -> None:
        description = encoder.description
        folder = settings.role_folder(ROLE)
        self.measured = Measured()
        self.encoding = EncodingService(encoder, sensor=Sensor())
        self._codebooks = Codebooks(trees={book.epoch: book}, active=book.epoch, highest=book.epoch)
        with self.measured.stage("shard opened"):
            self.shard = Shard.open(folder / "replica")
        self._held = Searchable(
            settings,
            folder,
            shard=self.shard,
            encoder=description,
            hash_word=str,
            as_query=self.encoding.as_query,
        )
        self.index, self.searching = self._held.index, self._held.searching
        self.lexical, self.dense = self._held.lexical, self._held.dense
        self._stamp = description.stamp
        self._trees = IndexTrees(self.index)
        self.snapshots = IndexSnapshots(
            settings,
            folder / "index",
            index=self.index,
            dense=self.dense,
            lexical=self.lexical,
            cluster=ROLE,
            stamp=self._stamp,
        )

    def start(self) -> None:
        """As `Searcher.start`; then wait until no path is behind."""
        book = self._codebooks.trees[self._codebooks.active]
        noting = 0.0

        def note(batch: Sequence[LiveDocument]) -> None:
            nonlocal noting
            started = time.perf_counter()
            self.dense.note(batch)
            noting += time.perf_counter() - started

        with self.measured.stage("tree"):
            self._trees.fitted(book)
        with self.measured.stage("documents"):
            if not self.snapshots.load(self.shard):
                fill(self.index, self.shard, stamp=self._stamp, on_batch=note)
        with self.measured.stage("dense graph read"):
            self.dense.load()
        with self.measured.stage("lexical index opened"):
            self.lexical.start()
        self.index.activate(book.epoch)
        with self.measured.stage("paths that were behind"):
            while self.dense.behind or self.lexical.index.behind:
                time.sleep(_WAIT_S)
        favour_answers()
        self.measured.seconds["of documents: identities for the graph"] = noting

    def close(self) -> None:
        """Stop as a searcher does; snapshot and lexical index have all that the shard has."""
        self.snapshots.save(self.shard.positions)
        self.lexical.index.flush(timeout_s=60.0)
        self._held.close()
        self.encoding.close()

    def decoded(self, records: Sequence[Record]) -> list[LogRecord]:
        return [read_log_record(record) for record in records]

    def applied(self, records: Sequence[LogRecord]) -> None:
        """As `Searcher._take`, behind the shard."""
        self._held.take(records, {})

    def change_leaves(self, changes: Sequence[LeafChange]) -> None:
        """What the curator decided, as the codebook log hands it over."""
        self._trees.changed(self._codebooks.active, changes)

    def ask(self, text: str) -> Found:
        """Answer a text as a searcher does."""
        encoding = self.encoding.submit([TextPart(text)], side="query")

        def encoded() -> list[QueryVector]:
            return [QueryVector("text", encoding.result().vectors[0], None, 1.0)]

        return self.searching.search(Query(parts=[QueryPart(text=text)]), encoded, self._codebooks)
