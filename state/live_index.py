"""The live index: all documents in memory, searchable the moment a change is applied.

One writer thread feeds it in log order, others query it. A lock is held while either works; hold
`reading()` around several calls that must see the same documents, for slots are used again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.field_values import FieldTable, FieldValues, filterable, seconds
from state.filters import Filter
from state.trie import LEAF_LEVELS, Trie, leaf_of
from state.vector_rows import ScoringPart, ScoringQuery, Vector, VectorRows
from streams.events.assignments import Modality
from streams.events.documents import FieldValue, Scalar
from streams.semantic_id import SemanticId


@dataclass(frozen=True, slots=True)
class LiveDocument:
    """A document as the live index takes it in. `ids`: epoch -> packed id; `arrived_at`: seconds."""

    document_id: str
    ids: Mapping[int, int]
    vectors: Sequence[Vector]
    modality: Modality
    language: str | None = None
    tags: Sequence[str] = ()
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
    published_at: datetime | None = None
    arrived_at: float | None = None

    def filterable(self) -> dict[str, Sequence[Scalar]]:
        return filterable(
            self.fields,
            tags=self.tags,
            language=self.language,
            modality=self.modality,
            published_at=self.published_at,
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """A document that is gone."""

    document_id: str


Change = LiveDocument | Removal


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """A found document."""

    document_id: str
    slot: int
    score: float


class LiveIndex:
    """Documents in slots; their vectors in rows, their leaves in a trie for each epoch, their fields in bitmaps."""

    def __init__(self, dimension: int) -> None:
        self._lock = threading.RLock()
        self._rows = VectorRows(dimension)
        self._slots: dict[str, int] = {}
        self._documents: list[LiveDocument | None] = []
        self._free: list[int] = []
        self._live = BitMap()
        self._tries: dict[int, Trie] = {}
        self._forgotten: set[int] = set()
        self._fields = FieldTable()
        self.active_epoch: int | None = None
        # Compile now: the first query would wait for it, and the writer for that query.
        self._rows.score(ScoringQuery([ScoringPart(np.zeros(dimension, dtype=np.float32))]), None)
        # Seconds since the epoch, of all documents ever taken in.
        self.newest_arrival: float | None = None
        self.newest_published: float | None = None

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in changes in order; a query sees all of them or none."""
        with self._lock:
            for change in changes:
                if isinstance(change, Removal):
                    self._remove(change.document_id)
                else:
                    self._put(change)

    def reading(self) -> AbstractContextManager[bool]:
        """Hold the index still over several calls. Keep it short: the writer waits."""
        return self._lock

    def activate(self, epoch: int) -> None:
        """Serve `trie` and `below` from this epoch from now on. Instant: all epochs are kept up to date."""
        self.active_epoch = epoch

    def forget_epoch(self, epoch: int) -> None:
        """Drop the trie of an epoch that will not be served again; its ids are ignored from now on."""
        with self._lock:
            self._forgotten.add(epoch)
            self._tries.pop(epoch, None)

    def trie(self) -> Trie:
        """The trie of the active epoch, empty when there is none. Use it while `reading()`."""
        return self._tries.get(self.active_epoch, _EMPTY) if self.active_epoch is not None else _EMPTY

    def score(
        self,
        query: ScoringQuery,
        *,
        allowed: BitMap | None = None,
        slots: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Exact scores of the documents in `slots` and `allowed` (None: no limit): slots (n,), scores (n,)."""
        with self._lock:
            if allowed is not None:
                slots = self._both(allowed, slots)
            return self._rows.score(query, slots)

    def passing(self, checked: Filter) -> BitMap:
        """Slots of the documents that pass a filter."""
        with self._lock:
            return checked.slots(self)

    def top(self, slots: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[ScoredDocument]:
        """The k best, best first; equal scores in order of document ids, so that answers repeat."""
        if k < len(scores):
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            chosen = scores >= least
            slots, scores = slots[chosen], scores[chosen]
        with self._lock:
            found = [
                ScoredDocument(document.document_id, slot, score)
                for slot, score in zip(slots.tolist(), scores.tolist(), strict=True)
                if (document := self._documents[slot]) is not None
            ]
        return sorted(found, key=lambda hit: (-hit.score, hit.document_id))[:k]

    def document(self, document_id: str) -> LiveDocument | None:
        """What the index holds of a document; its `vectors` are left empty."""
        with self._lock:
            slot = self._slots.get(document_id)
            return None if slot is None else self._documents[slot]

    def slot_of(self, document_id: str) -> int | None:
        """The slot of a document. Use it while `reading()`: slots are used again."""
        return self._slots.get(document_id)

    def in_slot(self, slot: int) -> LiveDocument | None:
        """The document in a slot, without its vectors. Use it while `reading()`."""
        return self._documents[slot]

    def every(self) -> BitMap:
        """Slots of all live documents (a copy)."""
        with self._lock:
            return self._live.copy()

    def field(self, name: str) -> FieldValues | None:
        """The values of a field, for filters. Use it while `reading()`."""
        return self._fields.get(name)

    def below(self, prefix: Sequence[int]) -> BitMap:
        """Slots of the documents whose id in the active epoch starts with `prefix` (one to four codes)."""
        with self._lock:
            slots = self.trie().below(prefix[:LEAF_LEVELS])
            if len(prefix) <= LEAF_LEVELS:
                return slots
            packed = SemanticId(*prefix).packed()
            return BitMap(slot for slot in slots if self._id_of(slot) == packed)

    def __len__(self) -> int:
        """How many documents are live."""
        return len(self._slots)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._slots

    @property
    def rows(self) -> int:
        """How many vectors are held."""
        return len(self._rows)

    def _both(self, allowed: BitMap, slots: NDArray[np.int64] | None) -> NDArray[np.int64]:
        among = np.frombuffer(allowed.to_array(), dtype=np.uint32).astype(np.int64)
        if slots is None:
            return among
        mask = np.zeros(max(len(self._documents), int(among.max(initial=0)) + 1), dtype=np.bool_)
        mask[among] = True
        return slots[mask[slots]]

    def _id_of(self, slot: int) -> int | None:
        document = self._documents[slot]
        if document is None or self.active_epoch is None:
            return None
        return document.ids.get(self.active_epoch)

    def _put(self, document: LiveDocument) -> None:
        slot = self._slots.get(document.document_id)
        if slot is not None:
            self._rows.put(slot, document.vectors)
            self._unlist(slot)
        else:
            slot = self._free[-1] if self._free else len(self._documents)
            self._rows.put(slot, document.vectors)
            self._take(slot, document.document_id)
        self._list(slot, document)

    def _take(self, slot: int, document_id: str) -> None:
        if self._free:
            self._free.pop()
        else:
            self._documents.append(None)
        self._slots[document_id] = slot
        self._live.add(slot)

    def _list(self, slot: int, document: LiveDocument) -> None:
        self._documents[slot] = replace(document, vectors=())
        for epoch, packed in document.ids.items():
            if epoch not in self._forgotten:
                self._tries.setdefault(epoch, Trie()).add(leaf_of(packed), slot)
        self._fields.add(slot, document.filterable())
        published = None if document.published_at is None else seconds(document.published_at)
        self.newest_arrival = _later(self.newest_arrival, document.arrived_at)
        self.newest_published = _later(self.newest_published, published)

    def _unlist(self, slot: int) -> None:
        document = self._documents[slot]
        assert document is not None
        for epoch, packed in document.ids.items():
            if epoch in self._tries:
                self._tries[epoch].remove(leaf_of(packed), slot)
        self._fields.remove(slot, document.filterable())
        self._documents[slot] = None

    def _remove(self, document_id: str) -> None:
        slot = self._slots.pop(document_id, None)
        if slot is not None:
            self._unlist(slot)
            self._rows.drop(slot)
            self._live.remove(slot)
            self._free.append(slot)


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)


_EMPTY = Trie()
