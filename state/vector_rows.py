"""Vectors in memory, a row each, chained by document slot; and the compiled scoring of slots.

A row is 16 bits a number in two halves of 8: the coarse half is scanned, the fine half is added to score the
best again. One writer, any number of readers without locks: a document's rows are all in place before the
slot points to them, and rows are used again when no reader can hold them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from state.archives import Archive
from state.compiled import Scalar, compiled, inlined, observe, prefetch, publish
from state.lists import grown
from state.readers import Readers, Retired
from streams.events.documents import VectorKind

Vector = tuple[VectorKind, NDArray[np.float32]]
Floats = NDArray[np.float32]
Slots = NDArray[np.int64]
Block = tuple[NDArray[np.int8], NDArray[np.int8]]
"""Both halves of some rows."""
JOINT_KINDS: tuple[VectorKind, ...] = ("image", "text", "passage", "fused")
"""Kinds that lie in the space of queries. `raw` features are compared elsewhere."""
_KIND_NUMBERS = {kind: number for number, kind in enumerate(JOINT_KINDS)}
_NO_ROW = -1
_LINE = 64
"""Bytes of a cache line; rows begin at one."""
_STEP, _KIND, _NEXT = -1, -2, -3
"""Columns of `floats` and `whole`, from the end of a row."""
_HEADER = 12
_AHEAD = 8
"""So many rows before its turn, a row is asked for."""
_ALIGNED = 32
"""Rows are padded with zeros to a multiple of so many numbers: the compiled loops then have no rest."""
_LARGEST_SUM = 2**31 - 1
BLOCK = 32_768
"""Rows that are written to a file at once."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean and spread of the inner products of random pairs."""

    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True, slots=True)
class ScoringPart:
    """A signed part of a query: vector (d,), weight, and by kind of document vector its calibration."""

    vector: NDArray[np.float32]
    weight: float = 1.0
    calibration: Mapping[VectorKind, Calibration] = field(default_factory=dict)


class QueryArrays(NamedTuple):
    """A query for the compiled functions: p parts."""

    vectors: Floats
    """(p, d)."""
    whole: NDArray[np.int16]
    """The same in whole numbers, times `steps`."""
    steps: Floats
    weights: Floats
    means: Floats
    """(p, kinds)."""
    spreads: Floats


@dataclass(frozen=True, slots=True)
class ScoringQuery:
    """A document scores the sum over parts of weight * max over its rows of (product - mean) / spread."""

    parts: Sequence[ScoringPart]

    def arrays(self, dimension: int) -> QueryArrays:
        """For rows of `dimension` numbers. Raises ValueError when a part has another dimension."""
        if any(part.vector.shape != (dimension,) for part in self.parts):
            raise ValueError(f"a query vector has not {dimension} numbers")
        known = [[part.calibration.get(kind, Calibration()) for kind in JOINT_KINDS] for part in self.parts]
        vectors = padded(np.stack([part.vector for part in self.parts]))
        whole, steps = in_whole_numbers(vectors)
        return QueryArrays(
            vectors=vectors,
            whole=whole,
            steps=steps,
            weights=np.array([part.weight for part in self.parts], dtype=np.float32),
            means=np.array([[each.mean for each in row] for row in known], dtype=np.float32),
            spreads=np.array([[each.spread for each in row] for row in known], dtype=np.float32),
        )


class RowArrays(NamedTuple):
    """What the compiled functions work on. By row, but `first`, which is by slot."""

    coarse: NDArray[np.int8]
    """(rows, stride): the coarse half, and behind it, in the same cache lines, what is read with it."""
    floats: Floats
    """The same memory: a number of a row is `floats[row, STEP]` * (coarse + fine / 254)."""
    whole: NDArray[np.int32]
    """The same memory: kind and next row of the same document (-1 at the end)."""
    fine: NDArray[np.int8]
    """(rows, width)."""
    first: Slots


class VectorRows:
    """Rows of vectors of `dimension` numbers."""

    def __init__(self, dimension: int, *, readers: Readers | None = None, capacity: int = 1024) -> None:
        self.dimension = dimension
        width = -(-dimension // _ALIGNED) * _ALIGNED
        self.arrays = _arrays(
            _lines(capacity, width + _HEADER),
            np.empty((capacity, width), dtype=np.int8),
            np.full(capacity, _NO_ROW, dtype=np.int64),
        )
        self._used = 0
        self._held = 0
        self._free: list[int] = []
        self._retired: Retired[list[int]] = Retired(readers or Readers())

    def put(self, slots: Sequence[int], vectors: Sequence[Sequence[Vector]]) -> None:
        """Hold these vectors for each slot in place of what it had. A slot may come once in a call.

        `raw` is left out, and `fused` too when there is another: it would only be scored without one.
        Raises ValueError when one has another dimension; all slots then keep what they had.
        """
        self.check(vectors)
        kept = [_joint(each) for each in vectors]
        flat = [vector for each in kept for _, vector in each]
        rows = self._new_rows(len(flat), highest=max(slots, default=0))
        before = self._rows_of(slots)
        if flat:
            kinds = np.array([_KIND_NUMBERS[kind] for each in kept for kind, _ in each], dtype=np.int8)
            counts = np.array([len(each) for each in kept], dtype=np.int64)
            _write(
                self.arrays, rows, padded(np.stack(flat)), kinds, np.asarray(slots, dtype=np.int64), counts
            )
        self._retire(before)
        for slot, each in zip(slots, kept, strict=True):
            if not each:
                self.arrays.first[slot] = _NO_ROW
        self._held += len(flat)

    def check(self, vectors: Sequence[Sequence[Vector]]) -> None:
        """Raises ValueError when one that would be held has another dimension."""
        for kind, vector in (each for of_slot in vectors for each in of_slot):
            if kind in _KIND_NUMBERS and vector.shape != (self.dimension,):
                raise ValueError(f"a vector has shape {vector.shape}, this index holds ({self.dimension},)")

    def drop(self, slots: Sequence[int]) -> None:
        """Free the rows of slots."""
        known = [slot for slot in slots if slot < len(self.arrays.first)]
        before = self._rows_of(known)
        self.arrays.first[known] = _NO_ROW
        self._retire(before)

    def score(self, query: QueryArrays, slots: Slots | None) -> tuple[Slots, Floats]:
        """Score these slots, or all, with the coarse half; returns slots that have a row, and their scores."""
        arrays = self.arrays
        if slots is None:
            slots = np.flatnonzero(arrays.first != _NO_ROW)
        scores = np.empty(len(slots), dtype=np.float32)
        score_slots(arrays, query, slots, scores, len(slots))
        found = ~np.isnan(scores)
        return (slots, scores) if found.all() else (slots[found], scores[found])

    def parts(self, query: QueryArrays, slots: Slots) -> Floats:
        """The calibrated score of each part with both halves, (p, n); NaN for a slot without a row."""
        found = np.empty((len(query.vectors), len(slots)), dtype=np.float32)
        _score_parts(self.arrays, query, slots, found)
        return found

    def vectors(self, slot: int) -> Floats:
        """The vectors of a slot as they are held, (rows, d)."""
        arrays = self.arrays
        rows = self._rows_of([slot])
        fine = arrays.fine[rows].astype(np.float32)
        exact = arrays.coarse[rows, : fine.shape[1]].astype(np.float32) + fine / np.float32(254)
        found: Floats = (arrays.floats[rows, _STEP, None] * exact)[:, : self.dimension]
        return found

    def means(self, slots: Slots) -> Floats:
        """The mean of the vectors of each slot, (n, d); zeros for one without."""
        means = np.zeros((len(slots), self.arrays.fine.shape[1]), dtype=np.float32)
        _add_means(self.arrays, slots, means)
        return means[:, : self.dimension]

    def kinds(self, slot: int) -> list[VectorKind]:
        """The kinds of the vectors of a slot."""
        return [JOINT_KINDS[kind] for kind in self.arrays.whole[self._rows_of([slot]), _KIND].tolist()]

    def dump(self) -> dict[str, NDArray[Any]]:
        """Which rows belong to which slot, as arrays of their own; the numbers in the rows are in `blocks`."""
        links = np.empty((self._used, 2), dtype=np.int32)
        _copy_links(self.arrays.whole, links)
        return {"first": self.arrays.first.copy(), "links": links}

    def blocks(self) -> Iterator[Block]:
        """Both halves of all rows that are there now, some thousands at a time, as views.

        A writer may go on meanwhile: rows of what it changes are then of before or after.
        """
        coarse, fine = self.arrays.coarse[: self._used], self.arrays.fine[: self._used]
        for start in range(0, len(coarse), BLOCK):
            yield coarse[start : start + BLOCK], fine[start : start + BLOCK]

    def restore(self, arrays: Archive, blocks: Iterable[Block]) -> None:
        """The inverse of `dump` and `blocks`, for rows that hold nothing. Raises ValueError if they do not fit."""
        links, first = arrays["links"], arrays["first"]
        self._grow(rows=len(links) * 5 // 4, slots=len(first))
        at = 0
        for coarse, fine in blocks:
            self.arrays.coarse[at : at + len(coarse)] = coarse
            self.arrays.fine[at : at + len(fine)] = fine
            at += len(coarse)
        if at < len(links):
            raise ValueError(f"{len(links)} rows were linked, {at} are there")
        # The numbers of rows may be younger than the links: these are what stood together.
        self.arrays.whole[: len(links), [_KIND, _NEXT]] = links
        self.arrays.first[: len(first)] = first
        is_held = np.zeros(len(links), dtype=np.bool_)
        _mark_held(self.arrays, is_held)
        self._used, self._held = len(links), int(is_held.sum())
        self._free = np.flatnonzero(~is_held).tolist()

    def __len__(self) -> int:
        """How many rows are in use."""
        return self._held

    @property
    def nbytes(self) -> int:
        """Bytes of memory that hold something."""
        arrays = self.arrays
        return int(self._used * (arrays.coarse.shape[1] + arrays.fine.shape[1]) + arrays.first.nbytes)

    def _rows_of(self, slots: Sequence[int]) -> list[int]:
        rows = []
        first, whole = self.arrays.first, self.arrays.whole
        for slot in slots:
            row = int(first[slot]) if slot < len(first) else _NO_ROW
            while row != _NO_ROW:
                rows.append(row)
                row = int(whole[row, _NEXT])
        return rows

    def _retire(self, rows: list[int]) -> None:
        if rows:
            self._held -= len(rows)
            self._retired.add(rows)

    def _new_rows(self, count: int, *, highest: int) -> NDArray[np.int64]:
        for freed in self._retired.free():
            self._free += freed
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        new = count - len(reused)
        self._grow(rows=self._used + new, slots=highest + 1)
        rows = np.array(reused + list(range(self._used, self._used + new)), dtype=np.int64)
        self._used += new
        return rows

    def _grow(self, *, rows: int, slots: int) -> None:
        old = self.arrays
        if rows <= len(old.fine) and slots <= len(old.first):
            return
        coarse, fine = old.coarse, old.fine
        if rows > len(fine):
            coarse = _lines(max(rows, 2 * len(fine)), old.fine.shape[1] + _HEADER)
            coarse[: len(old.coarse)] = old.coarse
            fine = grown(old.fine, len(coarse), None)
        room = len(old.first) if slots <= len(old.first) else max(slots, 2 * len(old.first))
        self.arrays = _arrays(coarse, fine, grown(old.first, room, _NO_ROW))


def _arrays(coarse: NDArray[np.int8], fine: NDArray[np.int8], first: Slots) -> RowArrays:
    return RowArrays(coarse, coarse.view(np.float32), coarse.view(np.int32), fine, first)


def _lines(rows: int, width: int) -> NDArray[np.int8]:
    """Rows of at least `width` bytes that begin at cache lines. Untouched memory costs nothing yet."""
    stride = -(-width // _LINE) * _LINE
    memory = np.empty(rows * stride + _LINE, dtype=np.int8)
    begin = -memory.ctypes.data % _LINE
    return memory[begin : begin + rows * stride].reshape(rows, stride)


def padded(vectors: Floats) -> Floats:
    """Vectors (n, d) with zeros behind, as rows are."""
    width = -(-vectors.shape[1] // _ALIGNED) * _ALIGNED
    wide = np.zeros((len(vectors), width), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def in_whole_numbers(vectors: Floats) -> tuple[NDArray[np.int16], Floats]:
    """Vectors (n, d) as 16-bit numbers and a step for each; a sum of products with 8-bit rows fits in 32 bits."""
    most = min(8_191, _LARGEST_SUM // (127 * vectors.shape[1]))
    steps = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-30)) / np.float32(most)
    return np.rint(vectors / steps[:, None]).astype(np.int16), steps.astype(np.float32)


def _joint(vectors: Sequence[Vector]) -> Sequence[Vector]:
    joint = [(kind, vector) for kind, vector in vectors if kind in _KIND_NUMBERS]
    return [(kind, vector) for kind, vector in joint if kind != "fused"] or joint


@compiled
def quantise(vector: Floats, coarse: NDArray[np.int8], fine: NDArray[np.int8]) -> Scalar:
    """Write a vector (d,) as two halves; returns the step."""
    largest = np.float32(1e-30)
    for j in range(len(vector)):
        largest = max(largest, abs(vector[j]))
    step = largest / np.float32(127.0)
    for j in range(len(vector)):
        number = vector[j] / step
        whole = np.rint(number)
        coarse[j] = np.int8(whole)
        fine[j] = np.int8(np.rint((number - whole) * np.float32(254.0)))
    return step


@compiled
def _write(
    arrays: RowArrays, rows: Slots, vectors: Floats, kinds: NDArray[np.int8], slots: Slots, counts: Slots
) -> None:
    at = 0
    for i in range(len(slots)):
        first = -1
        for _ in range(counts[i]):
            row = rows[at]
            arrays.floats[row, _STEP] = quantise(vectors[at], arrays.coarse[row], arrays.fine[row])
            arrays.whole[row, _KIND] = kinds[at]
            arrays.whole[row, _NEXT] = first
            first = row
            at += 1
        if first >= 0:
            publish(arrays.first, slots[i], first)


@compiled
def _copy_links(whole: NDArray[np.int32], links: NDArray[np.int32]) -> None:
    """Kind and next row of each row; without the interpreter, which a strided copy would hold for long."""
    for row in range(len(links)):
        links[row, 0], links[row, 1] = whole[row, _KIND], whole[row, _NEXT]


@compiled
def _mark_held(arrays: RowArrays, is_held: NDArray[np.bool_]) -> None:
    for head in arrays.first:
        row = head
        while row >= 0:
            is_held[row] = True
            row = np.int64(arrays.whole[row, _NEXT])


@inlined
def product(coarse: NDArray[np.int8], row: Scalar, whole: NDArray[np.int16], part: Scalar) -> Scalar:
    """The inner product of the coarse half of a row and a part of a query in whole numbers.

    It takes indices, not rows: to make a view costs as much as the product. Each sum is cut to 32 bits (it
    fits, see `in_whole_numbers`): numba would widen it to 64, at three times the cost.
    """
    total = np.int32(0)
    for j in range(whole.shape[1]):
        total = np.int32(total + np.int32(np.int32(coarse[row, j]) * np.int32(whole[part, j])))
    return total


@compiled
def score_slots(arrays: RowArrays, query: QueryArrays, slots: Slots, scores: Floats, count: Scalar) -> None:
    """The coarse scores of the first `count` slots; NaN where there is no row."""
    parts, width = query.whole.shape
    for i in range(min(_AHEAD, count)):
        _prefetch_row(arrays, slots[i], width)
    for i in range(count):
        if i + _AHEAD < count:
            _prefetch_row(arrays, slots[i + _AHEAD], width)
        head = observe(arrays.first, slots[i]) if slots[i] < len(arrays.first) else np.int64(-1)
        total = np.float32(0.0)
        for part in range(parts):
            best = np.float32(-np.inf)
            row = head
            while row >= 0:
                kind = arrays.whole[row, _KIND]
                found = arrays.floats[row, _STEP] * query.steps[part]
                found *= product(arrays.coarse, row, query.whole, part)
                best = max(best, (found - query.means[part, kind]) / query.spreads[part, kind])
                row = np.int64(arrays.whole[row, _NEXT])
            total += query.weights[part] * best
        scores[i] = total if head >= 0 else np.float32(np.nan)


@compiled
def _prefetch_row(arrays: RowArrays, slot: Scalar, width: Scalar) -> None:
    row = observe(arrays.first, slot) if slot < len(arrays.first) else np.int64(-1)
    if row >= 0:
        for column in range(0, width + _HEADER, _LINE):
            prefetch(arrays.coarse, row, column)


@compiled
def _score_parts(arrays: RowArrays, query: QueryArrays, slots: Slots, scores: Floats) -> None:
    parts, width = query.vectors.shape
    for i in range(len(slots)):
        head = observe(arrays.first, slots[i]) if slots[i] < len(arrays.first) else np.int64(-1)
        for part in range(parts):
            best = np.float32(-np.inf) if head >= 0 else np.float32(np.nan)
            row = head
            while row >= 0:
                total = np.float32(0.0)
                for j in range(width):
                    fine = np.float32(arrays.fine[row, j]) / np.float32(254.0)
                    total += (np.float32(arrays.coarse[row, j]) + fine) * query.vectors[part, j]
                kind = arrays.whole[row, _KIND]
                found = arrays.floats[row, _STEP] * total
                best = max(best, (found - query.means[part, kind]) / query.spreads[part, kind])
                row = np.int64(arrays.whole[row, _NEXT])
            scores[part, i] = best


@compiled
def _add_means(arrays: RowArrays, slots: Slots, means: Floats) -> None:
    for i in range(len(slots)):
        row = observe(arrays.first, slots[i]) if slots[i] < len(arrays.first) else np.int64(-1)
        rows = 0
        while row >= 0:
            step = arrays.floats[row, _STEP]
            for j in range(means.shape[1]):
                fine = np.float32(arrays.fine[row, j]) / np.float32(254.0)
                means[i, j] += step * (np.float32(arrays.coarse[row, j]) + fine)
            rows += 1
            row = np.int64(arrays.whole[row, _NEXT])
        if rows > 1:
            means[i] /= np.float32(rows)
