"""Which document is in which slot, and the plain numbers of each document: no Python object for any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.archives import Archive, below, nested
from state.bitmaps import bitmap_of_slots
from state.texts import NOT_FOUND, Texts
from streams.events.assignments import Modality
from streams.semantic_id import CATEGORY_BITS, CLUSTER_BITS, INSTANCE_BITS, LEVEL_SIZES, SUBCATEGORY_BITS

MODALITIES: tuple[Modality, ...] = get_args(Modality)
NO_ID = -1
"""In `ids`: the document has none in this epoch."""
_NUMBERS = {modality: number for number, modality in enumerate(MODALITIES)}
_FIRST_CAPACITY = 1_024
_LEVEL_BITS = (CATEGORY_BITS, SUBCATEGORY_BITS, CLUSTER_BITS, INSTANCE_BITS)
_NEVER = float("nan")
T = TypeVar("T", bound=np.generic)


class DocumentTable:
    """Slot <-> document id, and for each slot its modality, times, and packed ids by epoch.

    One writer; many readers without locks. A removed document is not found from that moment on; its slot is
    given again only after `release`, when no reader can hold it any more. Arrays grow by swap: a reader takes
    one from here for each query, and a slot that came later may be beyond its end.
    """

    def __init__(self) -> None:
        self._texts = Texts()
        self._live = BitMap()
        self._free: list[int] = []
        self._end = 0
        self.modality: NDArray[np.int8] = np.zeros(_FIRST_CAPACITY, dtype=np.int8)
        """Positions in MODALITIES by slot."""
        self.arrived_at: NDArray[np.float64] = np.full(_FIRST_CAPACITY, _NEVER)
        """Seconds since the epoch by slot, NaN where unknown."""
        self.published_at: NDArray[np.float64] = np.full(_FIRST_CAPACITY, _NEVER)
        """Seconds since the epoch by slot, NaN where unknown."""
        self._ids: dict[int, NDArray[np.int64]] = {}

    # -- the writer ---------------------------------------------------------------------------------------

    def put(
        self,
        document_id: str,
        *,
        modality: Modality = "text",
        ids: Mapping[int, int] | None = None,
        arrived_at: float | None = None,
        published_at: float | None = None,
    ) -> int:
        """Give a document a free slot, or keep the one it has, and set its numbers; returns the slot.

        `ids`: epoch -> packed id. It can be found as soon as this returns.
        """
        slot = self._texts.find(document_id)
        known = slot != NOT_FOUND
        if not known:
            slot = self._take_slot()
        self.modality[slot] = _NUMBERS[modality]
        self.arrived_at[slot] = _NEVER if arrived_at is None else arrived_at
        self.published_at[slot] = _NEVER if published_at is None else published_at
        self._set_ids(slot, ids or {})
        if not known:
            self._texts.put(slot, document_id)
            self._live.add(slot)
        return slot

    def remove(self, document_id: str) -> int | None:
        """Forget a document; returns its slot, to be released later, or None when there is no such document."""
        slot = self._texts.find(document_id)
        if slot == NOT_FOUND:
            return None
        self._live.discard(slot)
        self._texts.drop(slot)
        return slot

    def release(self, slots: Iterable[int]) -> None:
        """Let these removed slots be given again. The caller knows that no reader holds one of them."""
        self._free.extend(slots)

    def set_id(self, slot: int, *, epoch: int, packed: int) -> None:
        """Set the id of a live document in one epoch."""
        if epoch not in self._ids:
            self._ids[epoch] = np.full(len(self.modality), NO_ID, dtype=np.int64)
        self._ids[epoch][slot] = packed

    def forget_epoch(self, epoch: int) -> None:
        """Drop all ids of an epoch."""
        self._ids.pop(epoch, None)

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays of their own."""
        end = self._end
        ids = {str(epoch): ids[:end].copy() for epoch, ids in self._ids.items()}
        return {
            **nested({"texts": self._texts.dump(), "ids": ids}),
            "modality": self.modality[:end].copy(),
            "arrived_at": self.arrived_at[:end].copy(),
            "published_at": self.published_at[:end].copy(),
        }

    @classmethod
    def restored(cls, arrays: Archive) -> DocumentTable:
        """The inverse of `dump`; slots that nobody has are free."""
        table = cls()
        table._texts = Texts.restored(below("texts", arrays))
        live, table._end = table._texts.numbers(), len(arrays["modality"])
        table._live = bitmap_of_slots(live)
        is_free = np.ones(table._end, dtype=np.bool_)
        is_free[live] = False
        table._free = np.flatnonzero(is_free).tolist()
        capacity = max(_FIRST_CAPACITY, table._end * 3 // 2)
        table.modality = _grown(arrays["modality"], capacity, fill=0)
        table.arrived_at = _grown(arrays["arrived_at"], capacity, fill=_NEVER)
        table.published_at = _grown(arrays["published_at"], capacity, fill=_NEVER)
        ids = below("ids", arrays)
        table._ids = {int(epoch): _grown(held, capacity, fill=NO_ID) for epoch, held in ids.items()}
        return table

    # -- readers ------------------------------------------------------------------------------------------

    def slot_of(self, document_id: str) -> int | None:
        """The slot of a document, or None."""
        slot = self._texts.find(document_id)
        return None if slot == NOT_FOUND else slot

    def document_id(self, slot: int) -> str | None:
        """The document in a slot, or None when it is gone."""
        return self._texts.text(slot)

    def ids(self, epoch: int) -> NDArray[np.int64]:
        """Packed ids by slot, NO_ID where there is none; of an unknown epoch an empty array."""
        return self._ids.get(epoch, _NO_IDS)

    def id_of(self, slot: int, *, epoch: int) -> int | None:
        """The packed id of a slot, or None."""
        ids = self.ids(epoch)
        packed = int(ids[slot]) if slot < len(ids) else NO_ID
        return None if packed == NO_ID else packed

    def ids_of(self, slot: int) -> dict[int, int]:
        """All ids of a slot: epoch -> packed id."""
        found = {epoch: self.id_of(slot, epoch=epoch) for epoch in list(self._ids)}
        return {epoch: packed for epoch, packed in found.items() if packed is not None}

    def every(self) -> BitMap:
        """Slots of all live documents, a copy."""
        return self._live.copy()

    def __len__(self) -> int:
        """How many documents are live."""
        return len(self._live)

    def __contains__(self, document_id: str) -> bool:
        return self._texts.find(document_id) != NOT_FOUND

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """(slot, document id) of those that are live at the start and still when their turn comes."""
        for slot in self.every():
            document_id = self._texts.text(slot)
            if document_id is not None:
                yield slot, document_id

    @property
    def capacity(self) -> int:
        """One more than the largest slot that was ever given."""
        return self._end

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        slot = self._end
        if slot == len(self.modality):
            self._grow()
        self._end += 1
        return slot

    def _grow(self) -> None:
        capacity = self._end * 3 // 2
        self.modality = _grown(self.modality, capacity, fill=0)
        self.arrived_at = _grown(self.arrived_at, capacity, fill=_NEVER)
        self.published_at = _grown(self.published_at, capacity, fill=_NEVER)
        for epoch, ids in self._ids.items():
            self._ids[epoch] = _grown(ids, capacity, fill=NO_ID)

    def _set_ids(self, slot: int, ids: Mapping[int, int]) -> None:
        for epoch, known in self._ids.items():
            known[slot] = ids.get(epoch, NO_ID)
        for epoch in ids.keys() - self._ids.keys():
            self.set_id(slot, epoch=epoch, packed=ids[epoch])


def packed_prefix(prefix: Sequence[int]) -> tuple[int, int]:
    """One to four codes as (packed, bits): a packed id starts with them where `id >> bits == packed`."""
    packed = 0
    for code, size in zip(prefix, LEVEL_SIZES, strict=False):
        packed = packed * size + code
    return packed, sum(_LEVEL_BITS[len(prefix) :])


def _grown(array: NDArray[T], capacity: int, *, fill: float) -> NDArray[T]:
    larger = np.full(capacity, fill, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


_NO_IDS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
