"""Where something stands by its name alone, evenly in [0, 1): the same in every process."""

from __future__ import annotations

import hashlib

_BYTES = 8


def number_of(name: str, purpose: str) -> int:
    """A number of 64 bits. Those of different purposes have nothing to do with each other; a purpose has up to 16
    bytes."""
    digest = hashlib.blake2b(name.encode(), digest_size=_BYTES, person=purpose.encode())
    return int.from_bytes(digest.digest())


def place_of(name: str, purpose: str) -> float:
    """The same as a place: of a growing share, who is in stays in."""
    return number_of(name, purpose) / 2.0 ** (8 * _BYTES)
