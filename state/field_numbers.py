"""The numbers of one field. Compared exactly: a whole number that no float holds keeps all its digits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.archives import Archive, as_array, as_text, below, nested
from state.compiled import compiled
from state.slot_column import LayeredColumn, Numbers, Test
from state.value_test import ValueTest

_LONG = np.iinfo(np.int64)
_SIEVE_BITS = 16


class FieldNumbers:
    """Numbers by slot: floats, whole numbers that a float would round, and those beyond 64 bits.

    One writer, many readers without locks.
    """

    def __init__(self) -> None:
        self._floats = LayeredColumn(np.float64, math.nan)
        self._longs = LayeredColumn(np.int64, _LONG.min)
        self._huge: dict[int, list[int]] = {}

    def __bool__(self) -> bool:
        return any(len(held) > 0 for held in (self._floats, self._longs, self._huge))

    def add(self, slot: int, values: Sequence[float]) -> None:
        """Give numbers to a slot that has none."""
        if len(values) == 1 and isinstance(values[0], float):
            self._floats.add(slot, [values[0] + 0.0])
            return
        floats = [float(value) + 0.0 for value in values if _fits_float(value)]  # -0.0 becomes 0.0
        self._floats.add(slot, floats)
        if len(floats) < len(values):
            whole = [cast("int", value) for value in values if not _fits_float(value)]
            self._longs.add(slot, [value for value in whole if _fits_long(value)])
            huge = [value for value in whole if not _fits_long(value)]
            if huge:
                self._huge[slot] = huge

    def add_all(self, slots: Sequence[int], values: Sequence[Sequence[float]]) -> None:
        """`add` for many different slots."""
        if all(len(each) == 1 and isinstance(each[0], float) for each in values):
            self._floats.add_all(slots, [[each[0] + 0.0] for each in values])
            return
        for slot, each in zip(slots, values, strict=True):
            self.add(slot, each)

    def remove(self, slot: int) -> None:
        """Take all numbers of a slot away."""
        self._floats.pop(slot)
        self._longs.pop(slot)
        self._huge.pop(slot, None)

    def first(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """The first number of each slot (n,) that a float holds, NaN where there is none."""
        return np.asarray(self._floats.first(slots), dtype=np.float64)

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        huge = [[slot, *values] for slot, values in self._huge.items()]
        parts = nested({"floats": self._floats.dump(), "longs": self._longs.dump()})
        return {**parts, "huge": as_array(json.dumps(huge))}

    @classmethod
    def restored(cls, arrays: Archive) -> FieldNumbers:
        """The inverse of `dump`."""
        made = cls()
        made._floats = LayeredColumn.restored(below("floats", arrays), math.nan)
        made._longs = LayeredColumn.restored(below("longs", arrays), _LONG.min)
        made._huge = {slot: values for slot, *values in json.loads(as_text(arrays["huge"]))}
        return made

    def matching(self, test: ValueTest) -> BitMap:
        """Slots with any number that meets the test."""
        wanted = cast("list[float] | None", test.wanted("number"))
        if wanted is None:
            floats, longs = _within_floats(test), _within_longs(test)
        else:
            floats = _among(np.array([w + 0.0 for w in wanted if _fits_float(w)], dtype=np.float64))
            whole = [w for w in wanted if not _fits_float(w) and _fits_long(cast("int", w))]
            longs = _among(np.array(whole, dtype=np.int64))
        huge = [
            slot
            for slot, values in self._huge.copy().items()
            if any(test.accepts(value) if wanted is None else value in wanted for value in values)
        ]
        return self._floats.passing(floats) | self._longs.passing(longs) | BitMap(huge)


def _fits_float(value: float) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _fits_long(value: int) -> bool:
    return _LONG.min < value <= _LONG.max


def _within_floats(test: ValueTest) -> Test:
    low, high = -math.inf, math.inf
    if test.at_least is not None:
        bound = cast("float", test.at_least)
        low = _nearest_float(bound)
        low = low if low >= bound else math.nextafter(low, math.inf)
    if test.at_most is not None:
        bound = cast("float", test.at_most)
        high = _nearest_float(bound)
        high = high if high <= bound else math.nextafter(high, -math.inf)
    return lambda values: _between(values, low, high)


def _nearest_float(bound: float) -> float:
    try:
        return float(bound)
    except OverflowError:
        return math.inf if bound > 0 else -math.inf


def _within_longs(test: ValueTest) -> Test:
    low = cast("float", -math.inf if test.at_least is None else test.at_least)
    high = cast("float", math.inf if test.at_most is None else test.at_most)
    if low > _LONG.max or high <= _LONG.min:
        return _none
    lowest = math.ceil(low) if low > _LONG.min else _LONG.min + 1
    highest = math.floor(high) if high < _LONG.max else _LONG.max
    return lambda values: _between(values, lowest, highest)


def _among(wanted: Numbers) -> Test:
    if not len(wanted):
        return _none
    if len(wanted) == 1:
        return lambda values: np.asarray(values == wanted[0])
    wanted = np.unique(wanted)
    sieve = np.zeros(1 << _SIEVE_BITS, dtype=np.bool_)
    _fill_sieve(wanted.view(np.uint64), sieve)
    return lambda values: _sieved(values, values.view(np.uint64), wanted, sieve)


def _none(values: Numbers) -> NDArray[np.bool_]:
    return np.zeros(len(values), dtype=np.bool_)


@compiled
def _between(values: Numbers, low: float, high: float) -> NDArray[np.bool_]:
    mask = np.empty(len(values), dtype=np.bool_)
    for i in range(len(values)):
        value = values[i]  # read once: the writer may change it at any moment
        mask[i] = (value >= low) & (value <= high)
    return mask


@compiled
def _sieve_cell(bits: np.uint64) -> np.uint64:
    return (bits * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _SIEVE_BITS)


@compiled
def _fill_sieve(wanted: NDArray[np.uint64], sieve: NDArray[np.bool_]) -> None:
    for bits in wanted:
        sieve[_sieve_cell(bits)] = True


@compiled
def _sieved(
    values: Numbers, bits: NDArray[np.uint64], wanted: Numbers, sieve: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    mask = np.zeros(len(values), dtype=np.bool_)
    for i in range(len(values)):
        if sieve[_sieve_cell(bits[i])]:
            value = values[i]
            at = np.searchsorted(wanted, value)
            mask[i] = at < len(wanted) and wanted[at] == value
    return mask


def compile_numbers() -> None:
    """Compile for both types of columns."""
    for values in (np.zeros(2, dtype=np.float64), np.zeros(2, dtype=np.int64)):
        _between(values, values[0].item(), values[1].item())
        _among(np.arange(2, dtype=values.dtype))(values)
