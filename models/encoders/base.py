"""The protocol of encoders: what goes in, what comes out, and the record that describes the model.

Two vectors may be compared only if their stamps are equal: another name, revision or precision is another
space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Side = Literal["document", "query"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class TextPart:
    """A text; `language` is a BCP 47 tag where it is known."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class PicturePart:
    """A decoded RGB picture, upright (see `models.pictures.decode_picture`).

    `content_hash` is the sha256 of the bytes it was decoded from, where known; it spares hashing the pixels.
    """

    picture: Image.Image
    content_hash: str | None = None


Part = TextPart | PicturePart


@dataclass(frozen=True)
class Calibration:
    """Mean and standard deviation of the inner products of random (query, document) pairs of one kind."""

    mean: float
    spread: float


@dataclass(frozen=True)
class EncoderDescription:
    """The record of one encoder; immutable, and the source of the stamp that goes on every vector.

    `dimension` is d of the joint vectors, `raw_dimension` that of the raw picture features (0 = none).
    `languages` are BCP 47 tags, none where the model does not tell.
    `calibration` is keyed "query kind>document kind": text>text, text>image, image>text, image>image, and
    image>raw for the raw features of two pictures.
    `checksum` is a sha256 over the model's files ("" where there are none); `size_bytes` is their size.
    """

    name: str
    revision: str
    precision: str
    dimension: int
    raw_dimension: int
    modalities: frozenset[str]
    languages: tuple[str, ...]
    licence: str
    size_bytes: int
    checksum: str
    calibration: Mapping[str, Calibration] = field(hash=False)

    def __post_init__(self) -> None:
        """Freeze the calibration too, so that a description cannot change under a reader."""
        object.__setattr__(self, "calibration", MappingProxyType(dict(self.calibration)))

    @property
    def stamp(self) -> str:
        """name@revision/precision: int8 and float32 vectors of one model do not mix."""
        return f"{self.name}@{self.revision}/{self.precision}"


@dataclass(frozen=True)
class Encoded:
    """Vectors of n parts, in their order.

    `vectors` is float32 (n, dimension), compared by inner product. `raw` is float32 (n, raw_dimension): unit
    rows for pictures, compared by inner product with each other, and zero rows for texts.
    """

    vectors: Vectors
    raw: Vectors


class Encoder(Protocol):
    """A model behind one call. It is used from one thread at a time."""

    @property
    def description(self) -> EncoderDescription:
        """The frozen record of this encoder."""
        ...

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """Encode n parts; deterministic, and each row is independent of the others. No parts give (0, d).

        Raises `DataError("unsupported_modality")` for a kind of part that is not in `description.modalities`.
        """
        ...

    def as_query(self, vectors: Vectors) -> Vectors:
        """Stored document vectors (n, d) or (d,) in the form of query vectors, for "like this document"."""
        ...

    def passages(self, text: str) -> list[str]:
        """Split a text longer than the model's window into 2 to 8 passages; `[text]` where it fits."""
        ...


def unit_rows(rows: Vectors) -> Vectors:
    """Rows of length 1; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
