"""Field -> the values of each slot, in columns: what filters are answered from."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from state.archives import Archive, as_array, as_text, below, nested
from state.bitmaps import slots_of
from state.field_numbers import FieldNumbers
from state.field_texts import FieldTexts
from state.value_test import ValueTest
from streams.events.documents import FieldValue, Scalar

PUBLISHED_AT = "published_at"


class FieldValues:
    """The values of one field, by class. One writer, many readers without locks."""

    def __init__(self) -> None:
        self._booleans = {False: BitMap(), True: BitMap()}
        self._numbers = FieldNumbers()
        self._texts = FieldTexts()

    def __bool__(self) -> bool:
        return bool(self._numbers or self._texts or any(self._booleans.values()))

    def add(self, slot: int, values: Sequence[Scalar]) -> None:
        """Give values to a slot that has none."""
        if len(values) > 1:
            values = [*{(type(value) is bool, value): value for value in values}.values()]
        texts = [value for value in values if isinstance(value, str)]
        numbers = [value for value in values if not isinstance(value, str | bool)]
        if texts:
            self._texts.add(slot, texts)
        if numbers:
            self._numbers.add(slot, numbers)
        if len(texts) + len(numbers) < len(values):
            for value in values:
                if isinstance(value, bool):
                    self._booleans[value].add(slot)

    def add_all(self, slots: Sequence[int], values: Sequence[Sequence[Scalar]]) -> None:
        """`add` for many different slots."""
        kinds = {type(value) for of_slot in values for value in of_slot}
        are_plain = all(len(of_slot) == len(set(of_slot)) for of_slot in values)
        if kinds == {str} and are_plain:
            self._texts.add_all(slots, cast("Sequence[Sequence[str]]", values))
        elif kinds <= {int, float} and are_plain:
            self._numbers.add_all(slots, cast("Sequence[Sequence[float]]", values))
        else:
            for slot, of_slot in zip(slots, values, strict=True):
                self.add(slot, of_slot)

    def remove(self, slot: int) -> None:
        """Take all values of a slot away."""
        self._texts.remove(slot)
        self._numbers.remove(slot)
        for slots in self._booleans.values():
            slots.discard(slot)

    def numbers(self, slots: NDArray[np.int64]) -> NDArray[np.float64]:
        """The first number of each slot (n,) that a float holds, NaN where there is none."""
        return self._numbers.first(slots)

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        booleans = {str(int(value)): slots_of(slots) for value, slots in self._booleans.items()}
        return nested({"numbers": self._numbers.dump(), "texts": self._texts.dump(), "booleans": booleans})

    @classmethod
    def restored(cls, arrays: Archive) -> FieldValues:
        """The inverse of `dump`."""
        made = cls()
        made._booleans = {value: BitMap(arrays[f"booleans/{int(value)}"].tolist()) for value in (False, True)}
        made._numbers = FieldNumbers.restored(below("numbers", arrays))
        made._texts = FieldTexts.restored(below("texts", arrays))
        return made

    def matching(self, test: ValueTest) -> BitMap:
        """Slots with any value that meets the test. A new bitmap."""
        found = self._texts.matching(test) | self._numbers.matching(test)
        for value in test.wanted("boolean") or ():
            found |= self._booleans[bool(value)]
        return found


class FieldTable:
    """All fields of all slots. The built-ins hide document fields of the same name.

    One writer, many readers without locks: no reader ever gets a slot for a value that its document did not
    have; one that is just being added or removed may be missed or still be there.
    """

    def __init__(self) -> None:
        self._fields: dict[str, FieldValues] = {}
        self._held = _FieldSets()

    def get(self, field: str) -> FieldValues | None:
        """The values of a field, or None when no document has it."""
        return self._fields.get(field)

    def put(self, slot: int, fields: Mapping[str, Sequence[Scalar]]) -> None:
        """Give a slot these values in place of what it had."""
        self.put_all([slot], [fields])

    def put_all(self, slots: Sequence[int], fields: Sequence[Mapping[str, Sequence[Scalar]]]) -> None:
        """`put` for many different slots."""
        by_name: dict[str, tuple[list[int], list[Sequence[Scalar]]]] = {}
        for slot, of_slot in zip(slots, fields, strict=True):
            self.remove(slot)
            for name, values in of_slot.items():
                if values:
                    slots_of, values_of = by_name.setdefault(name, ([], []))
                    slots_of.append(slot)
                    values_of.append(values)
        for name, (slots_of, values_of) in by_name.items():
            if name not in self._fields:
                self._fields[name] = FieldValues()
            self._fields[name].add_all(slots_of, values_of)
        for slot, of_slot in zip(slots, fields, strict=True):
            self._held.put(slot, tuple(name for name, values in of_slot.items() if values))

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        fields = dict(self._fields)
        dumps = {str(place): values.dump() for place, values in enumerate(fields.values())}
        return {"names": as_array(json.dumps(list(fields))), **nested({"held": self._held.dump(), **dumps})}

    @classmethod
    def restored(cls, arrays: Archive) -> FieldTable:
        """The inverse of `dump`."""
        table = cls()
        for place, name in enumerate(json.loads(as_text(arrays["names"]))):
            table._fields[name] = FieldValues.restored(below(str(place), arrays))
        table._held = _FieldSets.restored(below("held", arrays))
        return table

    def remove(self, slot: int) -> None:
        """Take all values of a slot away; a slot without any is no error."""
        for name in self._held.pop(slot):
            values = self._fields[name]
            values.remove(slot)
            if not values:
                del self._fields[name]


class _FieldSets:
    """The names of the fields of each slot; equal ones are kept once. For the writer alone."""

    def __init__(self) -> None:
        self._by_slot = array("i")
        self._numbers: dict[tuple[str, ...], int] = {(): 0}
        self._names: list[tuple[str, ...]] = [()]
        self._uses = [0]
        self._free: list[int] = []

    def put(self, slot: int, names: tuple[str, ...]) -> None:
        number = self._numbers.get(names)
        if number is None:
            number = self._enter(names)
        if slot >= len(self._by_slot):
            self._by_slot.extend([0] * (slot + 1 - len(self._by_slot)))
        self._by_slot[slot] = number
        self._uses[number] += 1

    def pop(self, slot: int) -> tuple[str, ...]:
        number = self._by_slot[slot] if slot < len(self._by_slot) else 0
        if not number:
            return ()
        self._by_slot[slot] = 0
        names = self._names[number]
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._numbers[names]
            self._names[number] = ()
            self._free.append(number)
        return names

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        uses = np.array(self._uses, dtype=np.int64)
        return {"by_slot": np.array(self._by_slot), "names": as_array(json.dumps(self._names)), "uses": uses}

    @classmethod
    def restored(cls, arrays: Archive) -> _FieldSets:
        """The inverse of `dump`."""
        made = cls()
        made._by_slot = array("i", arrays["by_slot"].astype(np.int32).tobytes())
        made._names = [tuple(names) for names in json.loads(as_text(arrays["names"]))]
        made._uses = arrays["uses"].tolist()
        used = [number for number in range(1, len(made._names)) if made._uses[number]]
        made._numbers = {(): 0, **{made._names[number]: number for number in used}}
        made._free = [number for number in range(1, len(made._names)) if not made._uses[number]]
        return made

    def _enter(self, names: tuple[str, ...]) -> int:
        if self._free:
            number = self._free.pop()
        else:
            number = len(self._names)
            self._names.append(())
            self._uses.append(0)
        self._names[number] = names
        self._numbers[names] = number
        return number


def filterable(
    fields: Mapping[str, FieldValue],
    *,
    tags: Sequence[str],
    language: str | None,
    modality: str,
    published_at: datetime | None,
) -> dict[str, Sequence[Scalar]]:
    """What a document can be filtered by: its fields and the built-ins, each as a list of values."""
    values: dict[str, Sequence[Scalar]] = {
        name: value if isinstance(value, list) else [value] for name, value in fields.items()
    }
    values["tags"] = tags
    values["modality"] = [modality]
    values["language"] = [] if language is None else [language]
    values[PUBLISHED_AT] = [] if published_at is None else [seconds(published_at)]
    return values


def seconds(at: datetime) -> float:
    """A point in time as a number to compare; without an offset it is taken as UTC."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
