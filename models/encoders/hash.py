"""`hash`: an encoder for tests. No files, no training, deterministic for ever, and still puts like near like.

Texts are hashed words and character n-grams; pictures are a coarse grid of colours and edges, projected into
the same space by a fixed sign matrix. An English colour word adds the vector of a picture in that colour, so
that "red" finds red pictures and the road from text to picture can be tested without a trained model.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from models.encoders.base import Calibration, Encoded, EncoderDescription, Part, PicturePart, Side, Vectors
from models.encoders.passages import split_passages

DEFAULT_DIMENSION = 64

_GRID = 4
_RAW_DIMENSION = _GRID * _GRID * 3 + 2 * _GRID * _GRID
_EDGE_WEIGHT = 2.0
_COLOUR_WEIGHT = 0.7
_WORD_WEIGHT = 1.0
_GRAM_WEIGHT = 1.5
_WINDOW = 2_000
_WORDS = re.compile(r"\w+")
_MIX = 0x9E3779B1


class HashEncoder:
    """The encoder `hash:<dimension>`; more than 5,000 short texts a second on one core."""

    def __init__(self, dimension: int = DEFAULT_DIMENSION) -> None:
        if dimension < 8:
            raise ValueError(f"hash:{dimension}: the dimension must be at least 8")
        self.description = _description(dimension)
        self._projection = _signs(dimension)

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """Unit vectors (n, dimension) and raw picture features (n, 80); both sides are encoded alike."""
        vectors = np.zeros((len(parts), self.description.dimension), dtype=np.float32)
        raw = np.zeros((len(parts), _RAW_DIMENSION), dtype=np.float32)
        for row, part in enumerate(parts):
            if isinstance(part, PicturePart):
                raw[row] = _picture_features(part.picture)
                vectors[row] = _unit(raw[row] @ self._projection)
            else:
                vectors[row] = self._text_vector(part.text)
        return Encoded(vectors, raw)

    def as_query(self, vectors: Vectors) -> Vectors:
        """The same: both sides share one form."""
        return vectors

    def passages(self, text: str) -> list[str]:
        """Passages of about 2,000 characters: here only so that callers meet long texts in tests."""
        return split_passages(text, window=_WINDOW)

    def _text_vector(self, text: str) -> Vectors:
        words = _WORDS.findall(text.casefold()) or [text]
        hashes, weights = zip(*_grams(words), strict=True)
        mixed = (np.array(hashes, dtype=np.uint64) * _MIX) & 0xFFFFFFFF
        signs = np.where(mixed & 1, 1.0, -1.0) * np.array(weights)
        dimension = self.description.dimension
        counts = np.bincount((mixed >> 1) % dimension, weights=signs, minlength=dimension)
        vector = _unit(counts.astype(np.float32))
        colours = [_COLOURS[word] for word in words if word in _COLOURS]
        if colours:
            features = np.mean([_solid_features(colour) for colour in colours], axis=0)
            vector = _unit(vector + _COLOUR_WEIGHT * _unit(features @ self._projection))
        return vector


def _grams(words: Sequence[str]) -> Iterator[tuple[int, float]]:
    """Hashes of words and of their runs of 3 and 4 bytes, with weights; position plays no part."""
    for word in words:
        encoded = f"<{word}>".encode("utf-8", "surrogatepass")
        yield zlib.crc32(encoded), _WORD_WEIGHT
        weight = _GRAM_WEIGHT / math.sqrt(len(encoded))
        for size in (3, 4):
            for start in range(len(encoded) - size + 1):
                yield zlib.crc32(encoded[start : start + size], size), weight


def _picture_features(picture: Image.Image) -> Vectors:
    """Unit row of 80: colours of a 4 x 4 grid about mid grey, and each cell's changes across and down."""
    fine = np.asarray(picture.convert("RGB").resize((4 * _GRID, 4 * _GRID), Image.Resampling.BOX), np.float32)
    fine = fine / 255.0 - 0.5
    cells = fine.reshape(_GRID, 4, _GRID, 4, 3)
    grey = cells.mean(axis=4)
    across = np.abs(np.diff(grey, axis=3)).mean(axis=(1, 3))
    down = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 3))
    edges = _EDGE_WEIGHT * np.concatenate([across.ravel(), down.ravel()])
    return _unit(np.concatenate([cells.mean(axis=(1, 3)).ravel(), edges]))


@cache
def _solid_features(colour: tuple[int, ...]) -> Vectors:
    return _picture_features(Image.new("RGB", (8, 8), colour))


@cache
def _signs(dimension: int) -> NDArray[np.float32]:
    """A fixed (80, dimension) matrix of +-1; SHAKE, because the streams of random generators may change."""
    count = _RAW_DIMENSION * dimension
    stream = hashlib.shake_256(b"trieflow hash encoder").digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[:count]
    return (2.0 * bits.reshape(_RAW_DIMENSION, dimension) - 1.0).astype(np.float32)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def _description(dimension: int) -> EncoderDescription:
    # Measured on names of emoji and on book illustrations: what hashing alone would give, and what texts share.
    noise = dimension**-0.5
    return EncoderDescription(
        name=f"hash-{dimension}",
        revision="1",
        precision="float32",
        dimension=dimension,
        raw_dimension=_RAW_DIMENSION,
        modalities=frozenset({"text", "image"}),
        languages=(),
        licence="Apache-2.0",
        size_bytes=0,
        checksum="",
        calibration={
            "text>text": Calibration(0.015, math.hypot(noise, 0.07)),
            "text>image": Calibration(0.0, math.hypot(noise, 0.05)),
            "image>text": Calibration(0.0, math.hypot(noise, 0.05)),
            "image>image": Calibration(0.42, 0.33),
            "image>raw": Calibration(0.42, 0.33),
        },
    )


# `getrgb`, not the values of `colormap`: Pillow puts numbers in place of the texts of colours that were used.
_COLOURS: dict[str, tuple[int, ...]] = {name: ImageColor.getrgb(name)[:3] for name in ImageColor.colormap}
