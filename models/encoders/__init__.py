"""Encoders: parts of a document or query (text, picture) in, float32 vectors out, inner product to compare.

Read `base.py` (the protocol) first, then `registry.py` (names to encoders). `hash` needs no files, `lite` is
the default and runs on a CPU without torch, `open_clip` takes any open_clip model. `cached.py` never encodes
the same picture twice. May import `streams` and `models.pictures`.
"""

from models.encoders.base import (
    Calibration,
    Encoded,
    Encoder,
    EncoderDescription,
    Part,
    PicturePart,
    Side,
    TextPart,
)
from models.encoders.cached import CachedEncoder, FolderVectorStore, VectorStore
from models.encoders.registry import load_encoder

__all__ = [
    "CachedEncoder",
    "Calibration",
    "Encoded",
    "Encoder",
    "EncoderDescription",
    "FolderVectorStore",
    "Part",
    "PicturePart",
    "Side",
    "TextPart",
    "VectorStore",
    "load_encoder",
]
