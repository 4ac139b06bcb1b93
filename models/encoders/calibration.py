"""Measures how random pairs score, for models about which nobody has written it down.

Different kinds of pairs live at different levels (texts of CLIP are near each other, its texts and pictures
are not); with mean and spread of each kind, kinds can be compared in one ranking. The examples are few and the
pictures drawn by code, so the numbers are a start; a collection of one's own gives better ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from models.encoders.base import Calibration, Vectors

_TEXTS = (
    "a dog runs along the beach",
    "fresh bread on a wooden table",
    "how do I reset my password?",
    "red running shoes, size 42",
    "the history of the railway in Peru",
    "two children fly a kite",
    "stainless steel water bottle",
    "a violin concerto in four movements",
    "snow on the mountains at sunrise",
    "quarterly report on energy prices",
    "a blue bicycle against a brick wall",
    "recipe for lentil soup with lemon",
    "an old map of the harbour",
    "green parrot in a cage",
    "instructions to assemble a bookshelf",
    "crowded market street at night",
)
_COLOURS = ("white", "black", "crimson", "seagreen", "royalblue", "gold", "orchid", "sienna")
_SIDE = 96


def measured(
    encode_texts: Callable[[Sequence[str]], Vectors],
    encode_pictures: Callable[[Sequence[Image.Image]], Vectors],
) -> dict[str, Calibration]:
    """The four kinds of pairs of texts and pictures, over 16 built-in examples of each."""
    rows = {"text": encode_texts(_TEXTS), "image": encode_pictures(_pictures())}
    return {f"{query}>{document}": _of(rows[query], rows[document]) for query in rows for document in rows}


def _of(queries: Vectors, documents: Vectors) -> Calibration:
    scores = queries @ documents.T
    if queries is documents:
        scores = scores[~np.eye(len(scores), dtype=bool)]
    return Calibration(float(scores.mean()), float(max(scores.std(), 1e-4)))


def _pictures() -> list[Image.Image]:
    """Shapes on grounds of different colours."""
    pictures = []
    for index in range(len(_TEXTS)):
        ground, colour = _COLOURS[index % len(_COLOURS)], _COLOURS[(index * 3 + 1) % len(_COLOURS)]
        picture = Image.new("RGB", (_SIDE, _SIDE), ground)
        draw = ImageDraw.Draw(picture)
        edge = 10 + 2 * index
        box = (edge, edge // 2, _SIDE - edge // 2, _SIDE - edge)
        (draw.ellipse, draw.rectangle)[index % 2](box, fill=colour)
        draw.line((0, _SIDE - 3 * index, _SIDE, 5 * index), fill=ground, width=1 + index % 5)
        pictures.append(picture)
    return pictures
