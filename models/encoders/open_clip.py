"""`open_clip:<model>/<pretrained>[@precision]`: any model of open_clip, on a GPU in bfloat16 or on a CPU.

Precisions: `float32`; `bfloat16`, by autocast, the default on CUDA; `int8`, on a CPU through ONNX Runtime. Weights
come from a hub at the first run, from then on from its cache; `<pretrained>` may also be a file. `random:<seed>`
makes a model that knows nothing, for tests and benchmarks. Needs the extra `encode`.

The CUDA path is unverified: it has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from models.encoders.base import Encoded, EncoderDescription, Part, PicturePart, Side, TextPart, Vectors
from models.encoders.calibration import measured
from models.encoders.passages import split_passages
from streams.errors import ModelError

PRECISIONS = ("float32", "bfloat16", "int8")

# Byte-pair encodings of English take about four characters a token; three leaves room for other languages.
_CHARACTERS_A_TOKEN = 3


class Towers(Protocol):
    """The two networks of a model with their preprocessing; rows have unit length."""

    precision: str

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(n, d) of n >= 1 texts; what does not fit the context is cut off."""
        ...

    def pictures(self, pictures: Sequence[Image.Image]) -> Vectors:
        """(n, d) of n >= 1 RGB pictures."""
        ...


class OpenClipEncoder:
    """See the module. Both sides are encoded alike, and there are no raw features."""

    def __init__(self, towers: Towers, *, description: EncoderDescription, context_length: int) -> None:
        self.description = description
        self._towers = towers
        self._window = context_length * _CHARACTERS_A_TOKEN

    @classmethod
    def load(
        cls,
        model: str,
        pretrained: str,
        *,
        precision: str | None = None,
        threads: int = 1,
        cache: Path | None = None,
    ) -> OpenClipEncoder:
        """Load or download the weights, and measure the calibration.

        `cache` keeps exported int8 networks, by default the user's cache folder; `threads` is set for the process.
        Raises `ModelError` where packages or weights are missing, with what to do about it.
        """
        _require_packages()
        from models.encoders.open_clip_int8 import Int8Towers
        from models.encoders.open_clip_towers import TorchTowers
        from models.encoders.open_clip_weights import load_weights

        wanted = _checked(precision)
        weights = load_weights(model, pretrained)
        towers: Towers
        if wanted == "int8":
            towers = Int8Towers.exported(weights, threads=threads, cache=cache)
        else:
            towers = TorchTowers(weights, precision=wanted, threads=threads)
        description = EncoderDescription(
            name=f"open_clip:{model}:{Path(pretrained).name}",
            revision=weights.checksum[:8],
            precision=towers.precision,
            dimension=towers.texts(["dimension"]).shape[1],
            raw_dimension=0,
            modalities=frozenset({"text", "image"}),
            languages=weights.languages,
            licence="that of the weights",
            size_bytes=weights.size_bytes,
            checksum=weights.checksum,
            calibration=measured(towers.texts, towers.pictures),
        )
        return cls(towers, description=description, context_length=weights.context_length)

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """Unit vectors (n, d) and no raw features (n, 0)."""
        vectors = np.zeros((len(parts), self.description.dimension), dtype=np.float32)
        texts = {row: part.text for row, part in enumerate(parts) if isinstance(part, TextPart)}
        if texts:
            vectors[list(texts)] = self._towers.texts(list(texts.values()))
        pictures = {row: part.picture for row, part in enumerate(parts) if isinstance(part, PicturePart)}
        if pictures:
            vectors[list(pictures)] = self._towers.pictures(list(pictures.values()))
        return Encoded(vectors, np.zeros((len(parts), 0), dtype=np.float32))

    def as_query(self, vectors: Vectors) -> Vectors:
        """The same: both sides share one form."""
        return vectors

    def passages(self, text: str) -> list[str]:
        """Passages that fit the model's context, by a cautious count of three characters a token."""
        return split_passages(text, window=self._window)


def _checked(precision: str | None) -> str | None:
    if precision is None or precision in PRECISIONS:
        return precision
    raise ModelError(f"there is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def _require_packages() -> None:
    try:
        import open_clip  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ModelError(f"open_clip encoders need the extra `encode`: {error}") from error
