"""`assignments`: the index log. The latest record of a key is the whole truth about that document."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from streams.events.base import Event, SourceAddress
from streams.events.documents import FieldValue, VectorKind
from streams.semantic_id import SemanticIdText

CONTROL_PREFIX = "\x00"
"""Keys that start so are control records, not documents."""

Modality = Literal["text", "image", "mixed", "vector"]


class EpochId(Event):
    """The id of a document in one epoch of the codebooks."""

    epoch: int
    """The epoch of the codebooks; 0 has no tree yet."""
    semantic_id: SemanticIdText
    """`c.s.k.i`."""


class StampedVector(Event):
    """A vector and the encoder that made it."""

    stamp: str
    """The encoder."""
    kind: VectorKind
    """What it is the vector of: a picture, a text, a passage, the whole document, or raw picture features."""
    dtype: Literal["f16"] = "f16"
    """Little-endian 16-bit floats."""
    data: str = Field(json_schema_extra={"contentEncoding": "base64"})
    """The numbers in base64."""

    @classmethod
    def of(cls, stamp: str, kind: VectorKind, vector: NDArray[np.floating]) -> StampedVector:
        data = base64.b64encode(np.asarray(vector, dtype="<f2").tobytes()).decode()
        return cls(stamp=stamp, kind=kind, data=data)

    def array(self) -> NDArray[np.float16]:
        """The vector, shape (d,)."""
        return np.frombuffer(base64.b64decode(self.data), dtype="<f2")


class Assignment(Event):
    """One document as the index holds it. Key: the document id; the latest record is the whole truth about it.

    A null value is a delete; its headers carry what must outlive the document. Written by indexers alone, in
    transactions: read it with `read_committed`.
    """

    ids: list[EpochId]
    """One for each live epoch: old and new while an epoch is being built."""
    retired: list[EpochId] = Field(default_factory=list)
    """Ids that this document gave up, so that a replay of the compacted log never hands them out again."""
    modality: Modality
    """What it was published with; `mixed` is text and picture, `vector` is ready vectors alone."""
    vectors: list[StampedVector]
    """One for each picture, text or passage, raw features of pictures, and one fused vector."""
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    """As published."""
    tags: list[str] = Field(default_factory=list)
    """As published."""
    language: str | None = None
    """As published."""
    title: str | None = None
    """As published."""
    text: str | None = None
    """As published."""
    image: str | None = None
    """URL of the thumbnail in the content store."""
    version: int | None = None
    """The newest version that was published."""
    content_hash: str
    """SHA-256, hex, over all that changes this record: a document with an equal one is `unchanged`."""
    published_at: datetime | None = None
    """As published."""
    codebook_offset: int = -1
    """The state of `codebooks` that the ids come from; -1: none."""
    source: SourceAddress
    """The record of `documents` that it was made from."""

    def id_in(self, epoch: int) -> str | None:
        """The semantic id in `epoch`, or None."""
        return next((i.semantic_id for i in self.ids if i.epoch == epoch), None)


class EpochComplete(Event):
    """Control record: every document of this partition has its id in `epoch`. Its key starts with U+0000."""

    epoch: int
    """The epoch that is complete here."""
    partition: int
    """The partition of `assignments`."""
    documents: int
    """How many documents the partition has."""

    @property
    def key(self) -> str:
        return f"{CONTROL_PREFIX}epoch_complete/{self.epoch}/{self.partition}"
