"""Bitmaps of slots from masks, in microseconds where adding slot by slot takes milliseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

_CHUNK = 1 << 16
_LARGEST_ARRAY = 4_096
"""A container with more members than that is a bitset of 8 KiB, else a sorted array of 16-bit numbers."""
_COOKIE = 12_346


def bitmap_of_mask(mask: NDArray[np.bool_]) -> BitMap:
    """The positions that are true, shape (n,).

    Written in the portable format of Roaring bitmaps, without runs, and read by the library:
    https://github.com/RoaringBitmap/RoaringFormatSpec
    """
    words = np.zeros(-(-len(mask) // _CHUNK) * _CHUNK // 64, dtype="<u8")
    words.view(np.uint8)[: -(-len(mask) // 8)] = np.packbits(mask, bitorder="little")
    chunks = words.reshape(-1, _CHUNK // 64)
    counts = np.bitwise_count(chunks).sum(axis=1, dtype=np.int64)
    keys = np.flatnonzero(counts)
    containers = [
        chunks[key].tobytes()
        if counts[key] > _LARGEST_ARRAY
        else np.flatnonzero(mask[key * _CHUNK : (key + 1) * _CHUNK]).astype("<u2").tobytes()
        for key in keys.tolist()
    ]
    header = np.array([_COOKIE, len(keys)], dtype="<u4").tobytes()
    descriptions = np.column_stack([keys, counts[keys] - 1]).astype("<u2").tobytes()
    first = len(header) + len(descriptions) + 4 * len(keys)
    lengths = np.array([len(each) for each in containers], dtype=np.int64)
    places = (first + np.cumsum(lengths) - lengths).astype("<u4").tobytes()
    return BitMap.deserialize(b"".join([header, descriptions, places, *containers]))


def bitmap_of_slots(slots: NDArray[np.integer]) -> BitMap:
    """These slots, shape (n,), in any order."""
    if len(slots) <= _LARGEST_ARRAY:
        return BitMap(np.sort(slots).astype(np.uint32))
    mask = np.zeros(int(slots.max()) + 1, dtype=np.bool_)
    mask[slots] = True
    return bitmap_of_mask(mask)


def slots_of(bitmap: BitMap) -> NDArray[np.int64]:
    """The members, sorted, shape (n,)."""
    return np.frombuffer(bitmap.to_array(), dtype=np.uint32).astype(np.int64)
