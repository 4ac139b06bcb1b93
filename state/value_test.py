"""What a filter asks of one value of a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from streams.events.documents import Scalar

ValueClass = Literal["boolean", "number", "text"]


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

    def wanted(self, value_class: ValueClass) -> list[Scalar] | None:
        """Of a class, the values of `one_of` that are within the bounds; None when any value may pass."""
        if self.one_of is None:
            return None if self.value_class == value_class else []
        return [value for value in self.one_of if class_of(value) == value_class and self.accepts(value)]
