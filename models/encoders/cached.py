"""The same picture is never encoded twice: an LRU in memory in front of a store of vectors that outlives it.

Vectors are rounded to float16, as the store keeps them, on a hit and on a miss alike: a cached answer and a
fresh one are the same to the last bit.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Protocol

import fsspec.core
import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from models.encoders.base import Encoded, Encoder, EncoderDescription, Part, PicturePart, Side, Vectors

_Row = tuple[NDArray[np.float16], NDArray[np.float16]]


class VectorStore(Protocol):
    """Bytes by key; a lost entry only costs encoding it again."""

    def get(self, key: str) -> bytes | None:
        """The bytes kept under `key`, or None."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep `value`; a reader sees all of it or nothing."""
        ...


class FolderVectorStore:
    """One file a vector below an fsspec URL (`/path`, `file://`, `s3://`), written aside and then moved."""

    def __init__(self, url: str) -> None:
        self._filesystem, self._root = fsspec.core.url_to_fs(url)

    def get(self, key: str) -> bytes | None:
        """The bytes of `key`, or None where it was never put."""
        try:
            content: bytes = self._filesystem.cat_file(self._path(key))
        except FileNotFoundError:
            return None
        return content

    def put(self, key: str, value: bytes) -> None:
        """Write atomically: a kill at any moment leaves the old bytes, the new ones or none."""
        path = self._path(key)
        self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        unfinished = f"{path}.{uuid.uuid4().hex}.tmp"
        self._filesystem.pipe_file(unfinished, value)
        self._filesystem.mv(unfinished, path)

    def delete(self, key: str) -> None:
        """Delete the bytes of `key`, where there are any."""
        try:
            self._filesystem.rm_file(self._path(key))
        except FileNotFoundError:
            pass

    def _path(self, key: str) -> str:
        name = hashlib.sha256(key.encode()).hexdigest()
        return f"{self._root}/{name[:2]}/{name}.safetensors"


class CachedEncoder:
    """An encoder that remembers pictures (in memory and in `store`) and the texts of queries (in memory).

    Guarantee: `encode` gives the wrapped encoder's vectors rounded to float16, cached or not.
    """

    def __init__(
        self,
        encoder: Encoder,
        store: VectorStore | None = None,
        *,
        pictures_in_memory: int = 4_096,
        queries_in_memory: int = 16_384,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._pictures: LRUCache[str, _Row] = LRUCache(pictures_in_memory)
        self._queries: LRUCache[str, _Row] = LRUCache(queries_in_memory)

    @property
    def description(self) -> EncoderDescription:
        """The wrapped encoder's description: a cached vector has the same stamp."""
        return self._encoder.description

    def as_query(self, vectors: Vectors) -> Vectors:
        """As the wrapped encoder turns them."""
        return self._encoder.as_query(vectors)

    def passages(self, text: str) -> list[str]:
        """As the wrapped encoder splits it."""
        return self._encoder.passages(text)

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """As `Encoder.encode`; only parts that were not seen before reach the wrapped encoder."""
        keys = [self._key(part, side) for part in parts]
        rows = {key: row for key in set(keys) if (row := self._remembered(key)) is not None}
        missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in rows}
        if missing:
            encoded = self._encoder.encode(list(missing.values()), side=side)
            for index, key in enumerate(missing):
                rows[key] = (
                    encoded.vectors[index].astype(np.float16),
                    encoded.raw[index].astype(np.float16),
                )
                self._remember(key, rows[key])
        return self._assembled([rows[key] for key in keys])

    def _key(self, part: Part, side: Side) -> str:
        """Begins with the kind of part, by which it is decided where it is remembered."""
        if isinstance(part, PicturePart):
            return picture_key(self.description.stamp, side, part.content_hash or _pixel_hash(part))
        kind = "query" if side == "query" else "text"
        return f"{kind}/{part.language or ''}/{part.text}"

    def _remembered(self, key: str) -> _Row | None:
        if key.startswith("query/"):
            return self._queries.get(key)
        if not key.startswith("picture/"):
            return None
        row = self._pictures.get(key)
        if row is None and self._store is not None and (content := self._store.get(key)) is not None:
            row = self._loaded(content)
            if row is not None:
                self._pictures[key] = row
        return row

    def _remember(self, key: str, row: _Row) -> None:
        if key.startswith("query/"):
            self._queries[key] = row
        elif key.startswith("picture/"):
            self._pictures[key] = row
            if self._store is not None:
                self._store.put(key, safetensors.save({"vector": row[0], "raw": row[1]}))

    def _loaded(self, content: bytes) -> _Row | None:
        """None for a damaged entry or one of another shape: it is encoded again and overwritten."""
        try:
            tensors = safetensors.load(content)
            vector, raw = tensors["vector"], tensors["raw"]
        except (SafetensorError, KeyError):
            return None
        shapes = ((self.description.dimension,), (self.description.raw_dimension,))
        return (vector, raw) if (vector.shape, raw.shape) == shapes else None

    def _assembled(self, rows: Sequence[_Row]) -> Encoded:
        vectors = np.zeros((len(rows), self.description.dimension), dtype=np.float32)
        raw = np.zeros((len(rows), self.description.raw_dimension), dtype=np.float32)
        for index, (vector, features) in enumerate(rows):
            vectors[index], raw[index] = vector, features
        return Encoded(vectors, raw)


def picture_key(stamp: str, side: Side, content_hash: str) -> str:
    """The key of the vectors of a picture."""
    return f"picture/{stamp}/{side}/{content_hash}"


def _pixel_hash(part: PicturePart) -> str:
    picture = part.picture
    digest = hashlib.sha256(f"{picture.mode} {picture.size}".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()
