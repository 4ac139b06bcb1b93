"""Rows of a shard: their keys, and their values as compact bytes (JSON, packed integers, raw f16)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from state.records import EpochCode, Tombstone
from streams.events.assignments import Assignment, Modality, StampedVector
from streams.events.base import SourceAddress
from streams.events.documents import FieldValue, VectorKind
from streams.semantic_id import INSTANCE_BITS, SemanticId

_ID_KEY = struct.Struct(">IQ")
_NODE_KEY = struct.Struct(">IBI")
_NUMBER = struct.Struct(">q")
_VECTOR_HEAD = struct.Struct("<HHI")
_CHILD = struct.Struct("<HI")


COUNT_KEY = b"documents"
"""Key in `meta` of the number of live documents."""


class StoredIds(NamedTuple):
    """What a shard knows of a document's identity. A deleted one has no `ids`, but keeps its version.

    `retired`: codes it gave up (a deleted one: all it ever had), never to be handed out again.
    """

    ids: Mapping[int, int]
    retired: tuple[EpochCode, ...]
    version: int | None
    content_hash: str
    source: SourceAddress
    codebook_offset: int = -1
    deleted_at: float | None = None

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    def retired_after(self, ids: Mapping[int, int]) -> list[EpochCode]:
        """What the next assignment has to list as retired when the document goes on with `ids`."""
        given_up = [code for code in self.ids.items() if code not in ids.items()]
        return list(dict.fromkeys([*self.retired, *given_up]))

    @classmethod
    def of(cls, assignment: Assignment) -> StoredIds:
        return cls(
            ids={i.epoch: SemanticId.parse(i.semantic_id).packed() for i in assignment.ids},
            retired=tuple((i.epoch, SemanticId.parse(i.semantic_id).packed()) for i in assignment.retired),
            version=assignment.version,
            content_hash=assignment.content_hash,
            source=assignment.source,
            codebook_offset=assignment.codebook_offset,
        )

    @classmethod
    def of_deleted(cls, tombstone: Tombstone, *, at: float) -> StoredIds:
        retired = tuple(dict.fromkeys([*tombstone.retired, *tombstone.ids.items()]))
        return cls({}, retired, tombstone.version, "", tombstone.source, deleted_at=at)

    def encode(self) -> bytes:
        source = (self.source.topic, self.source.partition, self.source.offset)
        row = (tuple(self.ids.items()), self.retired, self.version, self.content_hash, source)
        return orjson.dumps((*row, self.codebook_offset, self.deleted_at))

    @classmethod
    def decode(cls, value: bytes) -> StoredIds:
        ids, retired, version, content_hash, (topic, partition, offset), *rest = orjson.loads(value)
        # Checked when it was written; checking it again would be a third of the start of a process.
        source = SourceAddress.model_construct(topic=topic, partition=partition, offset=offset)
        codes = tuple((epoch, code) for epoch, code in retired)
        return cls(dict(ids), codes, version, content_hash, source, *rest)


def decode_codes(value: bytes) -> dict[int, int]:
    """Of what `StoredIds.encode` wrote, the packed ids by epoch."""
    return dict(orjson.loads(value)[0])


class StoredDocument(NamedTuple):
    """The stored fields of a document."""

    modality: Modality
    title: str | None
    text: str | None
    language: str | None
    fields: Mapping[str, FieldValue]
    tags: list[str]
    image: str | None
    published_at: datetime | None
    version: int | None

    @staticmethod
    def encode(assignment: Assignment) -> bytes:
        a = assignment
        row = (a.modality, a.title, a.text, a.language, a.fields, a.tags, a.image, a.published_at, a.version)
        return orjson.dumps(row)

    @classmethod
    def decode(cls, value: bytes) -> StoredDocument:
        modality, title, text, language, fields, tags, image, published_at, version = orjson.loads(value)
        at = None if published_at is None else datetime.fromisoformat(published_at)
        return cls(modality, title, text, language, fields, tags, image, at, version)


class StoredVector(NamedTuple):
    """A stored vector, f16, shape (d,), and the stamp of the encoder that made it."""

    stamp: str
    kind: VectorKind
    array: NDArray[np.float16]


def encode_vectors(vectors: Sequence[StampedVector]) -> bytes:
    """All vectors of a document, one behind the other: lengths, stamp, kind, raw little-endian f16."""
    parts: list[bytes] = []
    for vector in vectors:
        stamp, kind, data = vector.stamp.encode(), vector.kind.encode(), base64.b64decode(vector.data)
        parts += (_VECTOR_HEAD.pack(len(stamp), len(kind), len(data)), stamp, kind, data)
    return b"".join(parts)


def decode_vectors(value: bytes) -> list[StoredVector]:
    """The inverse of `encode_vectors`; the arrays are views into `value`, read-only."""
    vectors, at = [], 0
    while at < len(value):
        stamp_length, kind_length, size = _VECTOR_HEAD.unpack_from(value, at)
        named = at + _VECTOR_HEAD.size
        at = named + stamp_length + kind_length
        stamp, kind = _names(value[named:at], stamp_length)
        vectors.append(StoredVector(stamp, kind, np.frombuffer(value, "<f2", size // 2, at)))
        at += size
    return vectors


@lru_cache(64)
def _names(both: bytes, stamp_length: int) -> tuple[str, VectorKind]:
    """Stamp and kind: a few, of millions of vectors."""
    return both[:stamp_length].decode(), cast("VectorKind", both[stamp_length:].decode())


def id_key(epoch: int, packed: int) -> bytes:
    """Key in `by_id`: order is the order of paths, so the documents of a leaf lie side by side."""
    return _ID_KEY.pack(epoch, packed)


def node_key(epoch: int, level: int, prefix: int) -> bytes:
    """Key in `trie` of a node: `level` codes packed into `prefix`; the root is level 0, prefix 0."""
    return _NODE_KEY.pack(epoch, level, prefix)


def encode_children(children: Iterable[tuple[int, int]]) -> bytes:
    """The children of a trie node, in order of codes: code and number of live documents below."""
    return b"".join([_CHILD.pack(*child) for child in children])


def decode_children(value: bytes) -> list[tuple[int, int]]:
    """The inverse of `encode_children`."""
    return [(token, live) for token, live in _CHILD.iter_unpack(value)]


def counter_key(epoch: int, leaf: int) -> bytes:
    """Key in `meta` of a leaf's counter."""
    return b"counter/" + id_key(epoch, leaf << INSTANCE_BITS)


def position_key(partition: int) -> bytes:
    return b"position/%d" % partition


def applied_key(topic: str) -> bytes:
    return b"applied/" + topic.encode()


def complete_key(epoch: int, partition: int) -> bytes:
    return b"complete/%d/%d" % (epoch, partition)


def encode_number(number: int) -> bytes:
    return _NUMBER.pack(number)


def decode_number(value: bytes | None, default: int) -> int:
    """The number in `value`, or `default` when there is none."""
    if value is None:
        return default
    number: int = _NUMBER.unpack(value)[0]
    return number
