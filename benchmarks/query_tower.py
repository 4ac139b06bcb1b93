"""What a query costs with the text tower of another encoder, on a folder whose vectors are not its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.encoders.base import Encoded, Encoder, EncoderDescription, Part, Side, TextPart, Vectors
from models.encoders.registry import load_encoder


class WithTower:
    """Encodes a query with the tower, and answers with the vector that the encoder of the folder gave it before.

    So the time of a query has the tower in it in place of that encoder, and the search is over real documents.
    """

    def __init__(self, encoder: Encoder, tower: str, *, questions: Sequence[str], threads: int) -> None:
        """`tower`: a name for `load_encoder`; `open_clip:ViT-B-32/random:0@int8` needs no weights."""
        self._encoder = encoder
        self._tower = load_encoder(tower, threads=threads)
        texts = sorted(set(questions))
        vectors = encoder.encode([TextPart(text) for text in texts], side="query").vectors
        self._known = dict(zip(texts, vectors, strict=True))
        self._raw = encoder.description.raw_dimension

    @property
    def description(self) -> EncoderDescription:
        return self._encoder.description

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """Of texts that are among the questions."""
        self._tower.encode(parts, side=side)
        vectors = np.stack([self._known[part.text] for part in parts if isinstance(part, TextPart)])
        return Encoded(vectors, np.zeros((len(vectors), self._raw), dtype=np.float32))

    def as_query(self, vectors: Vectors) -> Vectors:
        return self._encoder.as_query(vectors)

    def passages(self, text: str) -> list[str]:
        return self._encoder.passages(text)
