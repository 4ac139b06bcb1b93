"""Columns: numbers by slot, scanned as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pyroaring import BitMap

from state.archives import Archive, below, nested
from state.bitmaps import bitmap_of_mask, bitmap_of_slots

Numbers = NDArray[np.generic]
Test = Callable[[Numbers], NDArray[np.bool_]]
"""Which of these values pass; "nothing" never does. Must read each value once: a writer may be at work."""

_FEW = 256
_SPARSE_SHARE = 64


class SlotColumn:
    """At most one number for each slot: an array, or a dictionary while fewer than one slot in 64 has one.

    One writer, many readers without locks: a number is written at once, an array grows by swap.
    """

    def __init__(self, dtype: DTypeLike, nothing: float) -> None:
        self._dtype = np.dtype(dtype)
        self._nothing = nothing
        self._values: Numbers | dict[int, float] = {}
        self._count = 0
        self._end = 0

    def __len__(self) -> int:
        """How many slots have a number."""
        return self._count

    def set(self, slot: int, value: float) -> None:
        """Give a number to a slot that has none."""
        values = self._values
        self._count += 1
        self._end = max(self._end, slot + 1)
        if isinstance(values, dict):
            values[slot] = value
            if self._count > _FEW and self._count * _SPARSE_SHARE > self._end:
                self._values = self._as_array(values)
            return
        if slot >= len(values):
            values = self._values = self._longer(values)
        values[slot] = value

    def set_all(self, slots: Sequence[int], values: Sequence[float]) -> None:
        """`set` for many different slots."""
        held = self._values
        if isinstance(held, dict) or not slots:
            for slot, value in zip(slots, values, strict=True):
                self.set(slot, value)
            return
        end = max(slots) + 1
        self._count += len(slots)
        self._end = max(self._end, end)
        while end > len(held):
            held = self._values = self._longer(held)
        held[slots] = values

    def pop(self, slot: int) -> float | None:
        """Take the number of a slot away; returns it, or None when there was none."""
        values = self._values
        if isinstance(values, dict):
            found = values.pop(slot, None)
        else:
            value = values[slot].item() if slot < len(values) else self._nothing
            found = None if value == self._nothing or value != value else value
            if found is not None:
                values[slot] = self._nothing
        if found is not None:
            self._count -= 1
            if not self._count:
                self._values, self._end = {}, 0
        return found

    def passing(self, test: Test) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64]]:
        """A mask by slot, or (while there is no array) None and the slots."""
        values = self._values
        if not isinstance(values, dict):
            return test(values), _NO_SLOTS
        values = values.copy()  # at once: the writer may change it while it is walked
        slots = np.fromiter(values, dtype=np.int64, count=len(values))
        return None, slots[test(np.fromiter(values.values(), dtype=self._dtype, count=len(values)))]

    def at(self, slots: NDArray[np.int64]) -> Numbers:
        """The numbers (n,) of slots (n,), "nothing" where there is none."""
        values = self._values
        found = np.full(len(slots), self._nothing, dtype=self._dtype)
        if isinstance(values, dict):
            found[:] = [values.get(slot, self._nothing) for slot in slots.tolist()]
        else:
            known = slots < len(values)
            found[known] = values[slots[known]]
        return found

    def retyped(self, dtype: DTypeLike, renumbered: Numbers | None = None) -> SlotColumn:
        """A copy with another type; with `renumbered`, each value v becomes renumbered[v]."""
        copy = SlotColumn(dtype, self._nothing)
        copy._count, copy._end = self._count, self._end
        values = self._values
        if isinstance(values, dict):
            copy._values = {
                slot: value if renumbered is None else renumbered[int(value)].item()
                for slot, value in values.items()
            }
        else:
            copy._values = (values if renumbered is None else renumbered[values]).astype(dtype)
        return copy

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own: values by slot, or with `slots` of these alone."""
        values = self._values
        if not isinstance(values, dict):
            return {"values": values[: self._end].copy()}
        return {
            "slots": np.fromiter(values, dtype=np.int64, count=len(values)),
            "values": np.fromiter(values.values(), dtype=self._dtype, count=len(values)),
        }

    @classmethod
    def restored(cls, arrays: Archive, nothing: float) -> SlotColumn:
        """The inverse of `dump`."""
        values = arrays["values"]
        column = cls(values.dtype, nothing)
        if "slots" in arrays:
            column._values = dict(zip(arrays["slots"].tolist(), values.tolist(), strict=True))
            column._count, column._end = len(values), int(arrays["slots"].max(initial=-1)) + 1
        else:
            column._values, column._end = values, len(values)
            column._count = int(np.count_nonzero((values != nothing) & (values == values)))
        return column

    def _as_array(self, values: dict[int, float]) -> Numbers:
        array = np.full(self._end * 3 // 2, self._nothing, dtype=self._dtype)
        slots = np.fromiter(values, dtype=np.int64, count=len(values))
        array[slots] = np.fromiter(values.values(), dtype=self._dtype, count=len(values))
        return array

    def _longer(self, values: Numbers) -> Numbers:
        array = np.full(self._end * 3 // 2, self._nothing, dtype=self._dtype)
        array[: len(values)] = values
        return array


class LayeredColumn:
    """Any number of numbers for each slot: the first ones in one column, the second ones in the next."""

    def __init__(self, dtype: DTypeLike, nothing: float) -> None:
        self._dtype = dtype
        self._nothing = nothing
        self._layers: tuple[SlotColumn, ...] = ()

    def __len__(self) -> int:
        """How many slots have a number."""
        return len(self._layers[0]) if self._layers else 0

    def add(self, slot: int, values: Sequence[float]) -> None:
        """Give numbers to a slot that has none."""
        layers = self._layers
        for place, value in enumerate(values):
            if place == len(layers):
                self._layers = layers = (*layers, SlotColumn(self._dtype, self._nothing))
            layers[place].set(slot, value)

    def add_all(self, slots: Sequence[int], values: Sequence[Sequence[float]]) -> None:
        """`add` for many different slots."""
        for place in range(max(map(len, values), default=0)):
            if place == len(self._layers):
                self._layers = (*self._layers, SlotColumn(self._dtype, self._nothing))
            layer = [
                (slot, of_slot[place])
                for slot, of_slot in zip(slots, values, strict=True)
                if len(of_slot) > place
            ]
            self._layers[place].set_all([slot for slot, _ in layer], [value for _, value in layer])

    def first(self, slots: NDArray[np.int64]) -> Numbers:
        """The first number of each slot (n,), "nothing" where there is none."""
        layers = self._layers
        return layers[0].at(slots) if layers else np.full(len(slots), self._nothing, dtype=self._dtype)

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        layers = {str(place): layer.dump() for place, layer in enumerate(self._layers)}
        return {"type": np.empty(0, dtype=self._dtype), **nested(layers)}

    @classmethod
    def restored(cls, arrays: Archive, nothing: float) -> LayeredColumn:
        """The inverse of `dump`."""
        column = cls(arrays["type"].dtype, nothing)
        places = sorted({int(name.split("/")[0]) for name in arrays if "/" in name})
        column._layers = tuple(SlotColumn.restored(below(str(place), arrays), nothing) for place in places)
        return column

    def pop(self, slot: int) -> list[float]:
        """Take all numbers of a slot away; returns them."""
        found: list[float] = []
        for layer in self._layers:
            value = layer.pop(slot)
            if value is None:
                break
            found.append(value)
        if found and not self._layers[-1]:
            self._layers = tuple(layer for layer in self._layers if len(layer))
        return found

    def passing(self, test: Test) -> BitMap:
        """Slots with any number that passes."""
        bitmaps, masks = [BitMap()], []
        for layer in self._layers:
            mask, slots = layer.passing(test)
            if mask is None:
                bitmaps.append(bitmap_of_slots(slots))
            else:
                masks.append(mask)
        if masks:
            bitmaps.append(bitmap_of_mask(_any_of(masks)))
        return BitMap.union(*bitmaps)

    def retyped(self, dtype: DTypeLike, renumbered: Numbers | None = None) -> LayeredColumn:
        """A copy with another type; with `renumbered`, each value v becomes renumbered[v]."""
        copy = LayeredColumn(dtype, self._nothing)
        copy._layers = tuple(layer.retyped(dtype, renumbered) for layer in self._layers)
        return copy


def _any_of(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    longest = max(masks, key=len)
    for mask in masks:
        if mask is not longest:
            longest[: len(mask)] |= mask
    return longest


_NO_SLOTS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
