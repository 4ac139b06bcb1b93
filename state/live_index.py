"""The live index: all documents in memory, searchable the moment a change is applied.

Changes are applied in log order, one at a time; any number of threads query it without waiting. A query holds
`reading()` from its first look to its last: until then no slot that it found means another document.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.archives import Archive, below, nested
from state.bitmaps import bitmap_of_mask
from state.document_table import DocumentTable, packed_prefix
from state.field_values import FieldTable, FieldValues, filterable, seconds
from state.filters import Filter
from state.generative import GenerativePath
from state.readers import Readers, Retired
from state.vector_rows import Block, QueryArrays, RowArrays, Vector, VectorRows
from streams.events.assignments import Modality
from streams.events.documents import FieldValue, Scalar, VectorKind
from streams.semantic_id import INSTANCE_BITS

Floats = NDArray[np.float32]
Slots = NDArray[np.int64]
_LEAF_LEVELS = 3
_NO_FIELDS: Mapping[str, FieldValue] = MappingProxyType({})


class LiveDocument(NamedTuple):
    """A document as the live index takes it in. `ids`: epoch -> packed id; `arrived_at`: seconds."""

    document_id: str
    ids: Mapping[int, int]
    vectors: Sequence[Vector]
    modality: Modality
    language: str | None = None
    tags: Sequence[str] = ()
    fields: Mapping[str, FieldValue] = _NO_FIELDS
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

    def fused(self, dimension: int) -> Floats:
        """The vector (d,) that chooses the leaf: the mean of the others where none is named, zeros without any."""
        joint = [vector for kind, vector in self.vectors if kind != "raw"]
        named = [vector for kind, vector in self.vectors if kind == "fused"]
        nothing = np.zeros(dimension, dtype=np.float32)
        known = named or joint or [nothing]
        mean: Floats = known[0] if len(known) == 1 else np.mean(known, axis=0, dtype=np.float32)
        return mean


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
    """Documents in slots; their vectors in rows, their leaves in a path for each epoch, their fields in columns."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._writing = threading.RLock()
        """Held by what changes the index, so that two threads may; readers never take it."""
        self._readers = Readers()
        self._table = DocumentTable()
        self._rows = VectorRows(dimension, readers=self._readers)
        self._paths: dict[int, GenerativePath] = {}
        self._forgotten: set[int] = set()
        self._fields = FieldTable()
        self._given_up: Retired[list[int]] = Retired(self._readers)
        self.active_epoch: int | None = None
        # Seconds since the epoch, of all documents ever taken in.
        self.newest_arrival: float | None = None
        self.newest_published: float | None = None

    # -- the writer ---------------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in changes in order; each document is found as soon as it is in, and not once it is out."""
        for run in _runs(changes):
            puts = [change for change in run if isinstance(change, LiveDocument)]
            removals = [change.document_id for change in run if isinstance(change, Removal)]
            with self._writing:
                if puts:
                    self._put(puts)
                if removals:
                    self._remove(removals)

    def set_tree(self, epoch: int, leaves: Slots, centroids: Floats) -> None:
        """Packed leaves (n,) of an epoch with their centroids (n, d): a fitted tree, or leaves that changed."""
        with self._writing:
            if epoch not in self._forgotten:
                self.path(epoch).set_leaves(leaves, centroids)

    def close_leaf(self, epoch: int, leaf: int) -> None:
        """A leaf takes no documents any more."""
        with self._writing:
            if epoch not in self._forgotten:
                self.path(epoch).close_leaf(leaf)

    def learn(self, epoch: int, levels: Sequence[tuple[Slots, Floats, Floats]]) -> None:
        """Take in a decoder's nodes of an epoch: for each level prefixes (n,), embeddings (n, h), biases (n,)."""
        with self._writing:
            if epoch not in self._forgotten:
                self.path(epoch).learn(levels)

    def repair(self, most: int) -> int:
        """Choose second leaves again near leaves that changed, for up to `most` documents; how many were done."""
        with self._writing:
            return sum(path.repair(most, self.fused) for path in self._paths.values() if path.repairs)

    def activate(self, epoch: int) -> None:
        """Serve this epoch from now on. Instant: all epochs are kept up to date."""
        self.active_epoch = epoch

    def forget_epoch(self, epoch: int) -> None:
        """Drop the path of an epoch that will not be served again; its ids are ignored from now on."""
        with self._writing:
            self._forgotten.add(epoch)
            self._paths = {known: path for known, path in self._paths.items() if known != epoch}
            self._table.forget_epoch(epoch)

    def epochs(self) -> set[int]:
        """Epochs that are kept up to date."""
        return set(self._paths)

    def path(self, epoch: int) -> GenerativePath:
        """The generative path of an epoch, made when it is first asked for."""
        found = self._paths.get(epoch)
        if found is None:
            found = self._paths[epoch] = GenerativePath(self.dimension, readers=self._readers)
        return found

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it at one moment, as arrays of their own, but the numbers of the vectors: these are `blocks`."""
        with self._writing:
            newest = [self.newest_arrival, self.newest_published]
            parts = {"table": self._table.dump(), "rows": self._rows.dump(), "fields": self._fields.dump()}
            paths = {f"path/{epoch}": path.dump() for epoch, path in self._paths.items()}
            return {
                **nested({**parts, **paths}),
                "newest": np.array([math.nan if at is None else at for at in newest]),
            }

    def blocks(self) -> Iterator[Block]:
        """The vectors, in parts. What changes after `dump` may be in them or not: it is to be applied again."""
        return self._rows.blocks()

    def restore(self, arrays: Archive, blocks: Iterable[Block]) -> None:
        """The inverse of `dump` and `blocks`, for an index that has its trees and no documents.

        Raises ValueError or KeyError when the arrays do not fit.
        """
        with self._writing:
            self._rows.restore(below("rows", arrays), blocks)
            self._fields = FieldTable.restored(below("fields", arrays))
            for epoch in {int(name.split("/")[1]) for name in arrays if name.startswith("path/")}:
                self.path(epoch).restore(below(f"path/{epoch}", arrays), self.fused)
            newest = [None if math.isnan(at) else at for at in arrays["newest"].tolist()]
            self.newest_arrival, self.newest_published = newest
            self._table = DocumentTable.restored(below("table", arrays))

    # -- readers ------------------------------------------------------------------------------------------

    def reading(self) -> AbstractContextManager[None]:
        """Hold it over all calls whose slots must mean the same. It costs nothing and stops nobody."""
        return self._readers.reading()

    def path_of(self, epoch: int) -> GenerativePath | None:
        """The path of an epoch, None when it is not kept."""
        return self._paths.get(epoch)

    def active_path(self) -> GenerativePath | None:
        """The path of the active epoch, None when there is none."""
        return None if self.active_epoch is None else self._paths.get(self.active_epoch)

    @property
    def rows_arrays(self) -> RowArrays:
        """The vectors, for the compiled functions of the paths."""
        return self._rows.arrays

    def score(self, query: QueryArrays, slots: Slots | None = None) -> tuple[Slots, Floats]:
        """Scores with the coarse half of the vectors, of these slots or of all documents: slots, scores (n,)."""
        return self._rows.score(query, slots)

    def parts(self, query: QueryArrays, slots: Slots) -> Floats:
        """The exact score of each part of a query, (p, n); NaN for a slot whose document is gone."""
        return self._rows.parts(query, slots)

    def vectors(self, slot: int) -> Floats:
        """The vectors (rows, d) of a document as they are held, in 16 bits."""
        return self._rows.vectors(slot)

    def kinds(self, slot: int) -> list[VectorKind]:
        """The kinds of the vectors of a document."""
        return self._rows.kinds(slot)

    def fused(self, slots: Slots) -> Floats:
        """For each slot the vector (n, d) that its leaf follows from: the mean of those that are held."""
        return self._rows.means(slots)

    def passing(self, checked: Filter) -> BitMap:
        """Slots of the documents that pass a filter."""
        return checked.slots(self)

    def mask(self, slots: BitMap) -> NDArray[np.bool_]:
        """By slot, True for those in `slots`."""
        mask = np.zeros(self._table.capacity, dtype=np.bool_)
        among = in_numbers(slots)
        mask[among[among < len(mask)]] = True
        return mask

    def top(self, slots: Slots, scores: Floats, k: int) -> list[ScoredDocument]:
        """The k best that are live, best first; equal scores in order of document ids, so that answers repeat."""
        if k < len(scores):
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            slots, scores = slots[scores >= least], scores[scores >= least]
        found = [
            ScoredDocument(document_id, slot, score)
            for slot, score in zip(slots.tolist(), scores.tolist(), strict=True)
            if (document_id := self._table.document_id(slot)) is not None
        ]
        return sorted(found, key=lambda hit: (-hit.score, hit.document_id))[:k]

    def items(self) -> Iterator[tuple[int, str]]:
        """(slot, document id) of all live documents."""
        return iter(self._table)

    def slot_of(self, document_id: str) -> int | None:
        """The slot of a document."""
        return self._table.slot_of(document_id)

    def document_id(self, slot: int) -> str | None:
        """The document in a slot, None when it is gone."""
        return self._table.document_id(slot)

    def id_of(self, slot: int, epoch: int) -> int | None:
        """The packed id of a document in an epoch."""
        return self._table.id_of(slot, epoch=epoch)

    def ids(self, document_id: str) -> dict[int, int] | None:
        """All packed ids of a document by epoch, None when it is not there."""
        slot = self._table.slot_of(document_id)
        return None if slot is None else self._table.ids_of(slot)

    def every(self) -> BitMap:
        """Slots of all live documents (a copy)."""
        return self._table.every()

    def field(self, name: str) -> FieldValues | None:
        """The values of a field, for filters."""
        return self._fields.get(name)

    def numbers(self, name: str, slots: Slots) -> NDArray[np.float64]:
        """The first number of a field, of each slot (n,); NaN where there is none. Dates are seconds."""
        field = self._fields.get(name)
        return np.full(len(slots), np.nan) if field is None else field.numbers(slots)

    def packed_ids(self) -> Slots:
        """Packed ids in the active epoch by slot, NO_ID where there is none; of those that are gone, whatever."""
        return self._table.ids(-1 if self.active_epoch is None else self.active_epoch)

    def below(self, prefix: Sequence[int]) -> BitMap:
        """Slots of the documents whose id in the active epoch starts with `prefix` (one to four codes)."""
        packed, bits = packed_prefix(prefix)
        return bitmap_of_mask(self.packed_ids() >> bits == packed) & self.every()

    def __len__(self) -> int:
        """How many documents are live."""
        return len(self._table)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._table

    @property
    def rows(self) -> int:
        """How many vectors are held."""
        return len(self._rows)

    def _put(self, documents: Sequence[LiveDocument]) -> None:
        self._collect()
        vectors = [document.vectors for document in documents]
        self._rows.check(vectors)
        slots = [self._take(document) for document in documents]
        self._rows.put(slots, vectors)
        self._fields.put_all(slots, [document.filterable() for document in documents])
        self._place(slots, documents)
        for document in documents:
            published = None if document.published_at is None else seconds(document.published_at)
            self.newest_arrival = _later(self.newest_arrival, document.arrived_at)
            self.newest_published = _later(self.newest_published, published)

    def _take(self, document: LiveDocument) -> int:
        return self._table.put(
            document.document_id,
            modality=document.modality,
            ids={epoch: packed for epoch, packed in document.ids.items() if epoch not in self._forgotten},
            arrived_at=document.arrived_at,
            published_at=None if document.published_at is None else seconds(document.published_at),
        )

    def _place(self, slots: Sequence[int], documents: Sequence[LiveDocument]) -> None:
        """Into the leaves of every epoch that a document has an id in, out of those of all others."""
        fused = np.stack([document.fused(self.dimension) for document in documents])
        for epoch in {epoch for document in documents for epoch in document.ids} - self._forgotten:
            self.path(epoch)
        for epoch, path in self._paths.items():
            here = [i for i, document in enumerate(documents) if epoch in document.ids]
            if here:
                leaves = [documents[i].ids[epoch] >> INSTANCE_BITS for i in here]
                path.put(np.array(slots, dtype=np.int64)[here], np.array(leaves, dtype=np.int64), fused[here])
            if len(here) < len(slots):
                path.remove(np.delete(np.array(slots, dtype=np.int64), here))

    def _remove(self, document_ids: Sequence[str]) -> None:
        found = [self._table.remove(document_id) for document_id in document_ids]
        slots = [slot for slot in found if slot is not None]
        if not slots:
            return
        for path in self._paths.values():
            path.remove(np.array(slots, dtype=np.int64))
        self._rows.drop(slots)
        for slot in slots:
            self._fields.remove(slot)
        self._given_up.add(slots)

    def _collect(self) -> None:
        for slots in self._given_up.free():
            self._table.release(slots)


def in_numbers(slots: BitMap) -> Slots:
    """The slots of a bitmap, ascending."""
    return np.frombuffer(slots.to_array(), dtype=np.uint32).astype(np.int64)


def _runs(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Changes in order, cut so that no document comes twice in a run: in a run, order does not matter."""
    run: list[Change] = []
    seen: set[str] = set()
    for change in changes:
        if change.document_id in seen:
            yield run
            run, seen = [], set()
        run.append(change)
        seen.add(change.document_id)
    if run:
        yield run


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)
