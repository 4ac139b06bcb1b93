"""Metadata filters of a query: read, checked, and answered from bitmaps.

    {"color": "red"}    {"price": {"gte": 10, "lte": 20}}    {"brand": {"in": ["a", "b"]}}
    {"sku": {"prefix": "X-"}}    {"id_prefix": "3.17"}    {"and" | "or" | "not": [...]}

`not` means none of them. A field with a list of values matches when any one value meets all operators.
`tags`, `language`, `modality` and `published_at` (ISO dates) are built in; all other names are `fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol

from pyroaring import BitMap

from state.field_values import PUBLISHED_AT, FieldValues, seconds
from state.value_test import ValueTest, class_of
from streams.errors import DataError
from streams.events.documents import Scalar
from streams.semantic_id import parse_prefix

MAX_DEPTH = 16
MAX_CONDITIONS = 1_000
_OPERATORS = ("in", "gte", "lte", "prefix")


class FilterSource(Protocol):
    """What a filter is answered from. Kept by the live index."""

    def every(self) -> BitMap:
        """Slots of all live documents."""

    def field(self, name: str) -> FieldValues | None:
        """The values of a field, or None."""

    def below(self, prefix: Sequence[int]) -> BitMap:
        """Slots below a path of the active epoch."""


class Filter(Protocol):
    """A checked filter."""

    def slots(self, source: FilterSource) -> BitMap:
        """The documents that pass. A new bitmap, free to change."""


@dataclass(frozen=True, slots=True)
class FieldIs:
    field: str
    test: ValueTest

    def slots(self, source: FilterSource) -> BitMap:
        values = source.field(self.field)
        return BitMap() if values is None else values.matching(self.test)


@dataclass(frozen=True, slots=True)
class Below:
    prefix: tuple[int, ...]

    def slots(self, source: FilterSource) -> BitMap:
        return source.below(self.prefix)


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Filter, ...]

    def slots(self, source: FilterSource) -> BitMap:
        return BitMap.intersection(*(part.slots(source) for part in self.parts))


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Filter, ...]

    def slots(self, source: FilterSource) -> BitMap:
        return BitMap.union(*(part.slots(source) for part in self.parts))


@dataclass(frozen=True, slots=True)
class NoneOf:
    parts: tuple[Filter, ...]

    def slots(self, source: FilterSource) -> BitMap:
        return source.every() - AnyOf(self.parts).slots(source)


_JOINS: Mapping[str, Callable[[tuple[Filter, ...]], Filter]] = {"and": AllOf, "or": AnyOf, "not": NoneOf}


def parse_filter(raw: object) -> Filter:
    """Read a filter. Raises DataError `bad_filter` with the path of the fault and how to mend it."""
    return _Parser().parse(raw, "filter", depth=1)


class _Parser:
    def __init__(self) -> None:
        self._conditions = 0

    def parse(self, raw: object, path: str, *, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            _refuse(path, f"the filter is nested deeper than {MAX_DEPTH} levels")
        if not isinstance(raw, Mapping) or len(raw) != 1:
            _refuse(
                path, 'a condition is an object with one name, as {"color": "red"}; join several by "and"'
            )
        self._count(1, path)
        [(name, value)] = raw.items()
        inner = f"{path}.{name}"
        if name in _JOINS:
            return self._join(name, value, inner, depth=depth)
        if name == "id_prefix":
            return _id_prefix(value, inner)
        if isinstance(value, Mapping):
            return FieldIs(name, self._operators(name, value, inner))
        return FieldIs(name, ValueTest(one_of=(_value(name, value, inner),)))

    def _join(self, name: str, value: object, path: str, *, depth: int) -> Filter:
        if not isinstance(value, list) or not value:
            _refuse(path, f'"{name}" needs a list of one or more conditions')
        parts = (self.parse(part, f"{path}.{i}", depth=depth + 1) for i, part in enumerate(value))
        return _JOINS[name](tuple(parts))

    def _operators(self, field: str, operators: Mapping[str, object], path: str) -> ValueTest:
        unknown = [str(name) for name in operators if name not in _OPERATORS]
        if unknown or not operators:
            named = f"{unknown[0]!r} is no operator" if unknown else "an operator is missing"
            _refuse(path, f"{named}; use {', '.join(_OPERATORS)}, or a plain value for equality")
        bounds = {
            name: _value(field, operators[name], f"{path}.{name}", is_prefix=name == "prefix")
            for name in ("gte", "lte", "prefix")
            if name in operators
        }
        one_of = self._one_of(field, operators["in"], f"{path}.in") if "in" in operators else None
        return _test(bounds, one_of, path)

    def _one_of(self, field: str, value: object, path: str) -> tuple[Scalar, ...]:
        if not isinstance(value, list) or not value:
            _refuse(path, '"in" needs a list of one or more values')
        self._count(len(value), path)
        return tuple(_value(field, each, f"{path}.{i}") for i, each in enumerate(value))

    def _count(self, number: int, path: str) -> None:
        self._conditions += number
        if self._conditions > MAX_CONDITIONS:
            _refuse(path, f"the filter has more than {MAX_CONDITIONS} conditions and values")


def _test(bounds: Mapping[str, Scalar], one_of: tuple[Scalar, ...] | None, path: str) -> ValueTest:
    classes = {class_of(value) for value in bounds.values()}
    if "boolean" in classes:
        _refuse(path, "true and false have no order; use a plain value")
    if len(classes) > 1:
        _refuse(path, "the operators of a field must compare with values of one kind, numbers or texts")
    prefix = bounds.get("prefix")
    return ValueTest(
        value_class=classes.pop() if classes else None,
        one_of=one_of,
        at_least=bounds.get("gte"),
        at_most=bounds.get("lte"),
        prefix=None if prefix is None else str(prefix),
    )


def _value(field: str, value: object, path: str, *, is_prefix: bool = False) -> Scalar:
    if not isinstance(value, bool | int | float | str):
        hint = 'use {"in": [...]}' if isinstance(value, list) else "use a text, a number, true or false"
        _refuse(path, f"{type(value).__name__} cannot be compared with; {hint}")
    if is_prefix and (not isinstance(value, str) or field == PUBLISHED_AT):
        _refuse(path, '"prefix" works on texts; for dates use "gte" and "lte"')
    return _point_in_time(value, path) if field == PUBLISHED_AT else value


def _point_in_time(value: Scalar, path: str) -> float:
    try:
        return seconds(datetime.fromisoformat(str(value)))
    except (ValueError, OverflowError):
        _refuse(path, f"{PUBLISHED_AT} is compared with an ISO date, as 2026-01-31 or 2026-01-31T12:00:00Z")


def _id_prefix(value: object, path: str) -> Filter:
    if not isinstance(value, str):
        _refuse(path, 'an id prefix is a text, as "3.17"')
    try:
        return Below(parse_prefix(value))
    except ValueError as error:
        _refuse(path, str(error))


def _refuse(path: str, message: str) -> NoReturn:
    raise DataError("bad_filter", message, field=path[:200])
