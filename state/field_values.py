"""Field -> value -> the slots of the documents that have it, as bitmaps: what filters are answered from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, cast

from pyroaring import BitMap

from streams.events.documents import FieldValue, Scalar

ValueClass = Literal["boolean", "number", "text"]
PUBLISHED_AT = "published_at"


def class_of(value: Scalar) -> ValueClass:
    """Values are equal or ordered only within a class: true is not 1, and "1" is not 1."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


@dataclass(frozen=True, slots=True)
class ValueTest:
    """What one value of a field has to meet, all of it. Bounds and prefix are of the class `value_class`."""

    value_class: ValueClass | None = None
    one_of: tuple[Scalar, ...] | None = None
    at_least: float | str | None = None
    at_most: float | str | None = None
    prefix: str | None = None

    def accepts(self, value: Scalar) -> bool:
        """True when `value` is within the bounds; `one_of` is not looked at."""
        if self.value_class is None:
            return True
        if class_of(value) != self.value_class:
            return False
        ordered = cast("float", value)
        return (
            (self.at_least is None or ordered >= cast("float", self.at_least))
            and (self.at_most is None or ordered <= cast("float", self.at_most))
            and (self.prefix is None or str(value).startswith(self.prefix))
        )


class FieldValues:
    """The values of one field."""

    def __init__(self) -> None:
        self._slots: dict[ValueClass, dict[Scalar, BitMap]] = {"boolean": {}, "number": {}, "text": {}}
        self._sorted: dict[ValueClass, list[Scalar]] = {}

    def add(self, value: Scalar, slot: int) -> None:
        of_class = self._slots[class_of(value)]
        slots = of_class.get(value)
        if slots is None:
            of_class[value] = BitMap([slot])
            self._sorted.pop(class_of(value), None)
        else:
            slots.add(slot)

    def remove(self, value: Scalar, slot: int) -> None:
        """Take a slot out; a value that was there twice in a document is removed once."""
        of_class = self._slots[class_of(value)]
        slots = of_class.get(value)
        if slots is None:
            return
        slots.discard(slot)
        if not slots:
            del of_class[value]
            self._sorted.pop(class_of(value), None)

    def matching(self, test: ValueTest) -> BitMap:
        """Slots of the documents with any value that meets the test."""
        return BitMap.union(BitMap(), *self._bitmaps(test))

    def __bool__(self) -> bool:
        return any(self._slots.values())

    def _bitmaps(self, test: ValueTest) -> Iterator[BitMap]:
        if test.one_of is not None:
            for value in test.one_of:
                slots = self._slots[class_of(value)].get(value)
                if slots is not None and test.accepts(value):
                    yield slots
        elif test.value_class is not None:
            of_class = self._slots[test.value_class]
            yield from (of_class[value] for value in self._in_bounds(test, test.value_class))

    def _in_bounds(self, test: ValueTest, value_class: ValueClass) -> Iterator[Scalar]:
        values = self._in_order(value_class)
        lowest = [bound for bound in (test.at_least, test.prefix) if bound is not None]
        first = max((bisect_left(values, bound) for bound in cast("list[float]", lowest)), default=0)
        for value in islice(values, first, None):
            if not test.accepts(value):
                return  # from the lower bound on, the accepted values are one run
            yield value

    def _in_order(self, value_class: ValueClass) -> list[float]:
        if value_class not in self._sorted:
            self._sorted[value_class] = sorted(cast("dict[float, BitMap]", self._slots[value_class]))
        return cast("list[float]", self._sorted[value_class])


class FieldTable:
    """All fields. The built-ins hide document fields of the same name."""

    def __init__(self) -> None:
        self._fields: dict[str, FieldValues] = {}
        self._held: dict[int, Mapping[str, Sequence[Scalar]]] = {}

    def get(self, field: str) -> FieldValues | None:
        """The values of a field, or None when no document has it."""
        return self._fields.get(field)

    def put(self, slot: int, fields: Mapping[str, Sequence[Scalar]]) -> None:
        """Give a slot these values in place of what it had."""
        self.remove(slot)
        self._held[slot] = fields
        self.add(slot, fields)

    def add(self, slot: int, fields: Mapping[str, Sequence[Scalar]]) -> None:
        for field, values in fields.items():
            for value in values:
                self._fields.setdefault(field, FieldValues()).add(value, slot)

    def remove(self, slot: int) -> None:
        """Take a slot out of all fields."""
        fields = self._held.pop(slot, {})
        for field, values in fields.items():
            table = self._fields.get(field)
            if table is None:
                continue
            for value in values:
                table.remove(value, slot)
            if not table:
                del self._fields[field]


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
