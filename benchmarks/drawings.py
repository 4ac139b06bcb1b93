"""Real vectors with a gap between queries and documents: drawings as documents, their names as queries.

Documents are OpenMoji's drawings in colour and as outlines, queries their names in twelve languages, both by the
default encoder. Whole names are held out (all languages and variants of a fifth of the names), the same that were
held out when the encoder's adapter was trained.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.train_lite.names import part_of
from benchmarks.train_lite.progress import tracked
from models.encoders.base import PicturePart, Side, TextPart, Vectors
from models.encoders.lite import LiteEncoder
from trieflow.demo_pictures import Picture, all_pictures

_AT_ONCE = 32


@dataclass(frozen=True)
class Drawings:
    """documents: (n, 513). queries: (m, 513); `own` is the row of the coloured drawing that each names, (m,).

    held_out: which queries are for measuring alone, (m,).
    """

    stamp: str
    documents: Vectors
    queries: Vectors
    own: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def load(folder: Path) -> Drawings:
    """The vectors of a folder; made first where they are missing or of another encoder (about two minutes)."""
    encoder = LiteEncoder.load()
    stamp = encoder.description.stamp
    path = folder / f"drawings-{stamp.replace('/', '-')}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name("drawings-unfinished.npz")
        np.savez(unfinished, **_made(encoder))
        os.replace(unfinished, path)
    arrays = np.load(path)
    return Drawings(stamp, arrays["documents"], arrays["queries"], arrays["own"], arrays["held_out"])


def _made(encoder: LiteEncoder) -> dict[str, NDArray[np.generic]]:
    pictures = list(all_pictures().values())
    drawn = [*((picture, False) for picture in pictures), *((picture, True) for picture in pictures)]
    names = [
        (row, name) for row, picture in enumerate(pictures) for name in dict.fromkeys(picture.names.values())
    ]
    parts = [
        _picture(picture, outline) for picture, outline in tracked(drawn, total=len(drawn), label="draw")
    ]
    return {
        "documents": _encoded(encoder, parts, side="document"),
        "queries": _encoded(encoder, [TextPart(name) for _, name in names], side="query"),
        "own": np.array([row for row, _ in names], dtype=np.int64),
        "held_out": np.array([part_of(pictures[row].names["en"]) == "test" for row, _ in names]),
    }


def _picture(picture: Picture, outline: bool) -> PicturePart:
    return PicturePart(Image.open(BytesIO(picture.png(outline=outline))).convert("RGB"))


def _encoded(encoder: LiteEncoder, parts: list[PicturePart] | list[TextPart], *, side: Side) -> Vectors:
    starts = range(0, len(parts), _AT_ONCE)
    batches = [
        encoder.encode(parts[start : start + _AT_ONCE], side=side).vectors
        for start in tracked(starts, total=len(starts), label=f"encode, {side} side")
    ]
    return np.concatenate(batches)
