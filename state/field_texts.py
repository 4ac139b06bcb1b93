"""The texts of one field: each different text once, and by slot the short numbers of its texts."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pyroaring import BitMap

from state.archives import Archive, below, nested
from state.compiled import compiled
from state.slot_column import LayeredColumn, Numbers
from state.texts import NOT_FOUND, Texts
from state.value_test import ValueTest

_NOTHING = 0
_MANY_UNUSED = 1_024
_WIDTHS = (np.uint8, np.uint16, np.int32)
_WIDER = {1 << 8: np.uint16, 1 << 16: np.int32}
"""The first number that needs each width."""


@dataclass(frozen=True, slots=True)
class _Coded:
    """A dictionary and the column that is written in it. Swapped as one: a number never changes its text."""

    texts: Texts
    numbers: LayeredColumn


class FieldTexts:
    """Texts by slot.

    One writer, many readers without locks. The dictionary only grows; when half of it is unused, both are
    written anew, without it.
    """

    def __init__(self) -> None:
        self._coded = _Coded(Texts(), LayeredColumn(np.uint8, _NOTHING))
        self._uses = array("i", [0])  # by number; number 0 stands for no text
        self._unused = 0

    def __bool__(self) -> bool:
        return len(self._coded.numbers) > 0

    def add(self, slot: int, values: Sequence[str]) -> None:
        """Give texts to a slot that has none."""
        self.add_all([slot], [values])

    def add_all(self, slots: Sequence[int], values: Sequence[Sequence[str]]) -> None:
        """`add` for many different slots: a text that comes often is looked up once."""
        counts = Counter(chain.from_iterable(values))
        # First: it may swap the column.
        numbers = {text: self._use(text, count) for text, count in counts.items()}
        self._coded.numbers.add_all(slots, [[numbers[text] for text in texts] for texts in values])

    def remove(self, slot: int) -> None:
        """Take all texts of a slot away."""
        for number in cast("list[int]", self._coded.numbers.pop(slot)):
            self._uses[number] -= 1
            self._unused += not self._uses[number]
        if self._unused > _MANY_UNUSED and 2 * self._unused > len(self._uses):
            self._write_anew()

    def dump(self) -> dict[str, NDArray[Any]]:
        """As arrays of their own."""
        coded = self._coded
        parts = nested({"texts": coded.texts.dump(), "numbers": coded.numbers.dump()})
        return {**parts, "uses": np.array(self._uses, dtype=np.int32)}

    @classmethod
    def restored(cls, arrays: Archive) -> FieldTexts:
        """The inverse of `dump`."""
        made = cls()
        texts = Texts.restored(below("texts", arrays))
        made._coded = _Coded(texts, LayeredColumn.restored(below("numbers", arrays), _NOTHING))
        made._uses = array("i", arrays["uses"].tolist())
        made._unused = int(np.count_nonzero(arrays["uses"][1:] == 0))
        return made

    def matching(self, test: ValueTest) -> BitMap:
        """Slots with any text that meets the test."""
        coded = self._coded
        wanted = cast("list[str] | None", test.wanted("text"))
        if wanted is None:
            accepted = coded.texts.within(
                at_least=cast("str | None", test.at_least),
                at_most=cast("str | None", test.at_most),
                prefix=test.prefix,
            )
            return coded.numbers.passing(lambda numbers: _accepted(numbers, accepted))
        found = [number for number in map(coded.texts.find, wanted) if number != NOT_FOUND]
        if not found:
            return BitMap()
        if len(found) == 1:
            return coded.numbers.passing(lambda numbers: np.asarray(numbers == found[0]))
        accepted = np.zeros(max(found) + 1, dtype=np.bool_)
        accepted[found] = True
        return coded.numbers.passing(lambda numbers: _accepted(numbers, accepted))

    def _use(self, text: str, times: int) -> int:
        number = self._coded.texts.find(text)
        if number == NOT_FOUND:
            return self._enter(text, times)
        self._unused -= not self._uses[number]
        self._uses[number] += times
        return number

    def _enter(self, text: str, times: int) -> int:
        number = len(self._uses)
        if number in _WIDER:
            self._coded = _Coded(self._coded.texts, self._coded.numbers.retyped(_WIDER[number]))
        self._coded.texts.put(number, text)
        self._uses.append(times)
        return number

    def _write_anew(self) -> None:
        used = np.flatnonzero(np.asarray(self._uses))
        fresh = np.arange(1, len(used) + 1)
        renumbered = np.zeros(len(self._uses), dtype=np.int32)
        renumbered[used] = fresh
        numbers = self._coded.numbers.retyped(_width(len(used)), renumbered)
        self._coded = _Coded(self._coded.texts.kept(used, fresh), numbers)
        self._uses = array("i", [0, *np.asarray(self._uses)[used].tolist()])
        self._unused = 0


def _width(number: int) -> DTypeLike:
    """As narrow as the largest number allows: what is scanned is what is stored."""
    return next(width for width in _WIDTHS if number <= np.iinfo(width).max)


@compiled
def _accepted(numbers: Numbers, accepted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask = np.empty(len(numbers), dtype=np.bool_)
    for i in range(len(numbers)):
        number = numbers[i]  # may be younger than `accepted`
        mask[i] = number < len(accepted) and accepted[number]
    return mask


def compile_texts() -> None:
    """Compile for all widths of numbers."""
    for width in _WIDTHS:
        _accepted(np.zeros(1, dtype=width), np.zeros(1, dtype=np.bool_))
    texts = Texts()
    texts.put(0, "a")
    texts.within(at_least=None, at_most=None, prefix="a")
    texts.kept(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
