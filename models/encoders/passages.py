"""Splits a long text into a few passages, at sentence ends where there are any."""

from __future__ import annotations

import re

MAX_PASSAGES = 8
_GROWTH = 1.15
# The end of a sentence in the scripts we meet; CJK marks need no blank after them.
_SENTENCE_END = re.compile(r"(?<=[.!?؟।])\s+|(?<=[。！？])|\n+")


def split_passages(text: str, *, window: int, limit: int = MAX_PASSAGES) -> list[str]:
    """Passages of about `window` characters that together hold the whole text, at most `limit` of them.

    A text too long for `limit` windows gets longer passages instead of losing its end; a model with a fixed
    window then reads the beginning of each. `[text]` where it fits.
    """
    if len(text) <= window:
        return [text]
    size = max(window, -(-len(text) // limit))
    passages = _packed(_pieces(text, size), size)
    while len(passages) > limit:
        size = int(size * _GROWTH) + 1
        passages = _packed(_pieces(text, size), size)
    return passages or [text]


def _pieces(text: str, size: int) -> list[str]:
    """Sentences, those longer than `size` cut at blanks, and words longer than `size` cut anywhere."""
    pieces: list[str] = []
    for sentence in filter(None, map(str.strip, _SENTENCE_END.split(text))):
        rest = sentence
        while len(rest) > size:
            cut = rest.rfind(" ", 1, size + 1)
            cut = cut if cut > size // 2 else size
            pieces.append(rest[:cut].rstrip())
            rest = rest[cut:].lstrip()
        if rest:
            pieces.append(rest)
    return pieces


def _packed(pieces: list[str], size: int) -> list[str]:
    """Neighbouring pieces joined as long as they fit into `size` characters."""
    passages: list[str] = []
    for piece in pieces:
        if passages and len(passages[-1]) + 1 + len(piece) <= size:
            passages[-1] = f"{passages[-1]} {piece}"
        else:
            passages.append(piece)
    return passages
