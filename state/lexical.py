"""The lexical index: words of titles, texts and tags, ranked by BM25.

A fold of the log like the other indexes, and durable of its own: each commit holds the log positions up to which
it has read, so after a kill the log is read again from there. A thread writes and commits behind the log, about
every half second; what a change has made untrue is hidden at once.

Documents are known to the files by a hash of their ids, 63 bits: among a million, two share one with a probability
of 5 in 100 million, and are then one document here.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pyroaring import BitMap

from state.languages import language_of
from state.lexical_store import LexicalReader, LexicalStore
from state.slot_table import NO_SLOT, SlotTable
from state.tokenising import document_terms, query_terms, words_with_forms
from streams.errors import StateError

log = structlog.get_logger()

COMMIT_EVERY_S = 0.5
TITLE_WEIGHT = 2
"""A word in the title counts like so many in the text."""
SHORTEST_WORD = 3
_WAITING_BYTES = 16_000_000
_CHANGE_BYTES = 300  # what a change takes beside its text
_WIDER = 4
_ALONE = 50
"""To look up one allowed document takes about as long as to fetch so many hits that are not allowed."""


@dataclass(frozen=True, slots=True)
class LexicalDocument:
    """What is searched of a document. `slot` is what a search gives for it; `language` a BCP 47 tag."""

    document_id: str
    slot: int
    title: str | None = None
    text: str | None = None
    tags: Sequence[str] = ()
    language: str | None = None

    def terms(self) -> list[str]:
        """The terms that it is found by; those of the title repeated."""
        rest = [self.text or "", *self.tags]
        language = language_of(" ".join([self.title or "", *rest]), given=self.language)
        terms = document_terms(self.title or "", language=language) * TITLE_WEIGHT
        for text in rest:
            terms += document_terms(text, language=language)
        return terms

    @property
    def size(self) -> int:
        """About the bytes that it takes while it waits."""
        return _CHANGE_BYTES + len(self.title or "") + len(self.text or "") + sum(map(len, self.tags))


@dataclass(frozen=True, slots=True)
class LexicalRemoval:
    """A document that is gone."""

    document_id: str
    size: int = _CHANGE_BYTES


LexicalChange = LexicalDocument | LexicalRemoval


@dataclass(frozen=True, slots=True)
class _Batch:
    changes: Sequence[tuple[int, LexicalChange]]  # key, change
    positions: Mapping[int, int]
    last: int  # number of the last of the changes
    size: int


@dataclass(frozen=True, slots=True)
class _View:
    """What a search sees. All of it stands still but `changed`: keys whose files are out of date."""

    reader: LexicalReader
    table: SlotTable
    changed: dict[int, int]  # key -> number of its latest change


class LexicalIndex:
    """Words of all documents. One thread applies changes in log order, any thread searches; readers take no lock.

    Build it, `attach` the documents that are known already, then read the log from `positions` on.
    """

    def __init__(self, folder: Path, *, commit_every_s: float = COMMIT_EVERY_S) -> None:
        """Open the index in `folder`; made when missing. Raises StateError when it cannot be opened."""
        self.failure: Exception | None = None
        """Why the thread that writes has ended; searches go on with what is there."""
        self._store = LexicalStore(folder)
        self._commit_every_s = commit_every_s
        self._view = _View(self._store.reader(), SlotTable(), {})
        self._changed = threading.Condition()
        self._waiting: deque[_Batch] = deque()
        self._waiting_bytes = 0
        self._applied = 0
        self._committed = 0
        self._slots: dict[int, int] = {}  # of the writing thread: changes since the last commit
        self._written = _Batch((), self._store.positions, 0, 0)
        self._committed_at = 0.0
        self._is_written = False  # anything, since then
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lexical", daemon=True)
        self._thread.start()

    @property
    def positions(self) -> Mapping[int, int]:
        """The next log offset by partition: all before it is committed."""
        return self._store.positions

    @property
    def behind(self) -> int:
        """How many changes were applied that cannot be found yet."""
        return self._applied - self._committed

    def attach(self, slots: Iterable[tuple[str, int]]) -> None:
        """Name all live documents, (document id, slot), after opening and before any `apply`.

        What the files hold of others is garbage: it is never found.
        """
        table = SlotTable.of_pairs((_key(document_id), slot) for document_id, slot in slots)
        self._view = _View(self._view.reader, table, {})

    def apply(self, changes: Sequence[LexicalChange], *, positions: Mapping[int, int]) -> None:
        """Take in changes in order. A removed or changed document is not found from now on as it was.

        `positions`: the next log offset of partitions after these changes. Waits only when 16 MB of text are
        ahead of it. Raises StateError when the thread that writes has ended.
        """
        keyed = [(_key(change.document_id), change) for change in changes]
        size = sum(change.size for change in changes)
        with self._changed:
            self._changed.wait_for(lambda: self.failure or self._waiting_bytes < _WAITING_BYTES)
            if self.failure is not None:
                raise StateError(f"the lexical index cannot be written: {self.failure}") from self.failure
            for key, _ in keyed:
                self._applied += 1
                self._view.changed[key] = self._applied
            self._waiting.append(_Batch(keyed, positions, self._applied, size))
            self._waiting_bytes += size
            self._changed.notify_all()

    def search(
        self, text: str, k: int, *, language: str | None = None, allowed: BitMap | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best documents for these words: slots (n,) and scores (n,), best first.

        A score is BM25 as a share of what is attainable for the query, about 0.5 where all its words occur, so
        that scores of different queries can be compared. `language`: of the query, a BCP 47 tag; detected where
        it is None. `allowed`: slots that may be found.
        """
        view = self._view
        terms = query_terms(text, language=language)
        if not terms.words or k < 1 or (allowed is not None and not allowed):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        if allowed is not None and _looked_at_alone(view, k, allowed):
            among: Sequence[int] = view.table.keys_of(allowed).tolist()
            return _found(view, *view.reader.search(terms, max(len(among), 1), among=among), allowed, k)
        limit, most = _limit(view, k, allowed), len(view.reader) + 1
        while True:
            keys, scores = view.reader.search(terms, min(limit, most))
            slots, kept = _found(view, keys, scores, allowed, k)
            if len(slots) == k or len(keys) < limit:
                return slots, kept
            limit *= _WIDER

    def unknown_words(self, text: str) -> list[str]:
        """Words of at least three letters that stand in no document, each once; none while there is no document."""
        reader = self._view.reader
        if not len(reader):
            return []
        found = words_with_forms(text, least=SHORTEST_WORD)
        return list(dict.fromkeys(word for word, forms in found if not reader.has_any(forms)))

    def flush(self, *, timeout_s: float) -> bool:
        """Wait until all that was applied can be found; False when it cannot in time."""
        wanted = self._applied
        with self._changed:
            return bool(
                self._changed.wait_for(lambda: self.failure or self._committed >= wanted, timeout_s)
                and self.failure is None
            )

    def close(self) -> None:
        """Commit what is written, forget what waits: the log has it. Searches must have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._store.close()

    def __len__(self) -> int:
        """How many documents can be found, apart from changes that are not committed yet."""
        return len(self._view.table)

    # -- the thread that writes -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                batch = self._next()
                if batch is not None:
                    self._write(batch)
                if self._is_written and self._due_in_s() <= 0:
                    self._commit()
            if self._is_written:
                self._commit()
        except Exception as error:
            log.error("the lexical index cannot be written", exc_info=error)
            with self._changed:
                self.failure = error
                self._changed.notify_all()

    def _next(self) -> _Batch | None:
        """The next batch; None when a commit is due before there is any, and at the end."""
        with self._changed:
            patience = self._due_in_s() if self._is_written else None
            self._changed.wait_for(lambda: self._closing or self._waiting, patience)
            if self._closing or not self._waiting:
                return None
            batch = self._waiting.popleft()
            self._waiting_bytes -= batch.size
            self._changed.notify_all()
            return batch

    def _write(self, batch: _Batch) -> None:
        for key, change in batch.changes:
            if isinstance(change, LexicalDocument):
                self._store.put(key, change.terms())
                self._slots[key] = change.slot
            else:
                self._store.remove(key)
                self._slots[key] = NO_SLOT
        positions = {**self._written.positions, **batch.positions}
        self._written = _Batch((), positions, batch.last, 0)
        self._is_written = True

    def _due_in_s(self) -> float:
        return max(0.0, self._committed_at + self._commit_every_s - time.monotonic())

    def _commit(self) -> None:
        written = self._written
        self._store.commit(written.positions)
        reader = self._store.reader()
        table = self._view.table.with_changes(self._slots)
        with self._changed:
            # Writers note changes in the view that is there: both must change in one step.
            since = {key: number for key, number in self._view.changed.items() if number > written.last}
            self._view = _View(reader, table, since)
            self._committed = written.last
            self._changed.notify_all()
        self._slots, self._is_written = {}, False
        self._committed_at = time.monotonic()


def _limit(view: _View, k: int, allowed: BitMap | None) -> int:
    """How many hits should hold k that count, were filter and changes independent of the words."""
    share = 1.0 if allowed is None else len(allowed) / max(len(allowed), len(view.table))
    return math.ceil(k / share) + min(k, len(view.changed))


def _looked_at_alone(view: _View, k: int, allowed: BitMap) -> bool:
    """Whether it is cheaper to ask for the allowed documents by key than to fetch hits until k are allowed."""
    return _ALONE * len(allowed) <= _limit(view, k, allowed)


def _found(
    view: _View,
    keys: NDArray[np.int64],
    scores: NDArray[np.float32],
    allowed: BitMap | None,
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k that are live, up to date and allowed."""
    slots = view.table.slots_of(keys)
    kept = slots != NO_SLOT
    # A copy in one step: another thread adds to it.
    changed = list(view.changed)
    if changed:
        kept &= ~np.isin(keys, np.array(changed, dtype=np.int64))
    if allowed is not None:
        passing = BitMap(slots[kept].astype(np.uint32)) & allowed
        kept &= np.isin(slots, np.frombuffer(passing.to_array(), dtype=np.uint32).astype(np.int64))
    places = np.flatnonzero(kept)[:k]
    return slots[places], scores[places]


def _key(document_id: str) -> int:
    """A key above 0."""
    digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
    return max(1, int.from_bytes(digest) >> 1)
