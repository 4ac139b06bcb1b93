"""Which slot a key stands for: sorted arrays that never change, so that readers need no lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.compiled import Scalar, compiled

NO_SLOT = -1
_PAIR = np.dtype([("key", np.int64), ("slot", np.int32)])


def _no_keys() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


def _no_slots() -> NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class SlotTable:
    """`keys` (n,) rising, `slots` (n,): 12 bytes a document."""

    keys: NDArray[np.int64] = field(default_factory=_no_keys)
    slots: NDArray[np.int32] = field(default_factory=_no_slots)

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[int, int]]) -> SlotTable:
        """From (key, slot); keys must differ."""
        table = np.fromiter(pairs, dtype=_PAIR)
        table.sort(order="key")
        return cls(table["key"].copy(), table["slot"].copy())

    def with_changes(self, changes: Mapping[int, int]) -> SlotTable:
        """A table with new slots for these keys; NO_SLOT takes a key out.

        It copies, 3 ms for a million keys; other threads run meanwhile.
        """
        changed = self.of_pairs(changes.items())
        keys = np.empty(len(self.keys) + len(changed.keys), dtype=np.int64)
        slots = np.empty(len(keys), dtype=np.int32)
        count = _merge(self.keys, self.slots, changed.keys, changed.slots, keys, slots)
        return SlotTable(keys[:count], slots[:count])

    def slots_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of each key, NO_SLOT where there is none."""
        if not len(self.keys):
            return np.full(len(keys), NO_SLOT, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.slots[places], NO_SLOT).astype(np.int64)

    def keys_of(self, slots: BitMap) -> NDArray[np.int64]:
        """The keys that stand for any of these slots."""
        is_asked = np.zeros(int(self.slots.max(initial=0)) + 1, dtype=np.bool_)
        asked = np.frombuffer(slots.to_array(), dtype=np.uint32)
        is_asked[asked[asked < len(is_asked)]] = True
        return self.keys[is_asked[self.slots]]

    def __len__(self) -> int:
        return len(self.keys)


@compiled
def _merge(
    keys: NDArray[np.int64],
    slots: NDArray[np.int32],
    changed: NDArray[np.int64],
    changed_slots: NDArray[np.int32],
    merged: NDArray[np.int64],
    merged_slots: NDArray[np.int32],
) -> Scalar:
    """Two tables into one, of equal keys the changed; returns how many there are."""
    at, held = 0, 0
    for i in range(len(changed) + 1):
        end = len(keys) if i == len(changed) else np.searchsorted(keys[at:], changed[i]) + at
        merged[held : held + end - at] = keys[at:end]
        merged_slots[held : held + end - at] = slots[at:end]
        held, at = held + end - at, end
        if i < len(changed):
            if at < len(keys) and keys[at] == changed[i]:
                at += 1
            if changed_slots[i] != NO_SLOT:
                merged[held], merged_slots[held] = changed[i], changed_slots[i]
                held += 1
    return held


def compile_slot_table() -> None:
    """Compile what a commit would else wait for."""
    SlotTable().with_changes({1: 0})
