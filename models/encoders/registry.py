"""Names to encoders: the value of the setting `encoder` becomes a loaded model here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models.encoders.cached import CachedEncoder
from models.encoders.hash import DEFAULT_DIMENSION, HashEncoder
from streams.errors import ModelError

if TYPE_CHECKING:
    from models.encoders.base import Encoder, EncoderDescription
    from models.encoders.cached import VectorStore

_HASH = re.compile(r"hash(?::(\d{1,5}))?")
_OPEN_CLIP = re.compile(r"open_clip:([^/]+)/([^@]+)(?:@(\w+))?")
CHOICES = "lite, hash, hash:<dimension>, open_clip:<model>/<pretrained>[@float32|@bfloat16|@int8]"


def load_encoder(name: str, *, threads: int = 1, cache: VectorStore | None = None) -> Encoder:
    """Load `lite`, `hash`, `hash:<dimension>` or `open_clip:<model>/<pretrained>[@<precision>]`.

    It stands behind a `CachedEncoder` if `cache` is given. `threads` bounds the CPU threads of one call. Only
    `open_clip` imports torch. Raises `ModelError` for an unknown name, and for weights or packages that are
    missing, with what to do about it.
    """
    encoder = _loaded(name, threads)
    return encoder if cache is None else CachedEncoder(encoder, cache)


def describe_encoder(name: str) -> EncoderDescription:
    """The description of an encoder; `lite` and `hash` are described without loading their weights.

    Raises `ModelError` as `load_encoder` does.
    """
    if name == "lite":
        from models.encoders.lite_weights.manifest import LiteManifest

        return LiteManifest.load().description()
    return _loaded(name, 1).description


def _loaded(name: str, threads: int) -> Encoder:
    if name == "lite":
        from models.encoders.lite import LiteEncoder

        return LiteEncoder.load(threads=threads)
    if match := _HASH.fullmatch(name):
        return _hash_encoder(int(match[1] or DEFAULT_DIMENSION))
    if match := _OPEN_CLIP.fullmatch(name):
        from models.encoders.open_clip import OpenClipEncoder

        return OpenClipEncoder.load(match[1], match[2], precision=match[3], threads=threads)
    raise ModelError(f"there is no encoder {name!r}: choose one of {CHOICES}")


def _hash_encoder(dimension: int) -> HashEncoder:
    try:
        return HashEncoder(dimension)
    except ValueError as error:
        raise ModelError(str(error)) from error
