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
    semantic_id: SemanticIdText


class StampedVector(Event):
    """A vector and the encoder that made it; `data` is base64 little-endian f16."""

    stamp: str
    kind: VectorKind
    dtype: Literal["f16"] = "f16"
    data: str

    @classmethod
    def of(cls, stamp: str, kind: VectorKind, vector: NDArray[np.floating]) -> StampedVector:
        data = base64.b64encode(np.asarray(vector, dtype="<f2").tobytes()).decode()
        return cls(stamp=stamp, kind=kind, data=data)

    def array(self) -> NDArray[np.float16]:
        """The vector, shape (d,)."""
        return np.frombuffer(base64.b64decode(self.data), dtype="<f2")


class Assignment(Event):
    """One document as the index holds it: ids (by epoch), vectors, stored fields, source.

    `retired` lists codes that this document gave up, so that a replay of the compacted log never hands
    them out again.
    """

    ids: list[EpochId]
    retired: list[EpochId] = Field(default_factory=list)
    modality: Modality
    vectors: list[StampedVector]
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    language: str | None = None
    title: str | None = None
    text: str | None = None
    image: str | None = None
    version: int | None = None
    content_hash: str
    published_at: datetime | None = None
    codebook_offset: int = -1
    source: SourceAddress

    def id_in(self, epoch: int) -> str | None:
        """The semantic id in `epoch`, or None."""
        return next((i.semantic_id for i in self.ids if i.epoch == epoch), None)


class EpochComplete(Event):
    """Control record: every document of this partition has its id in `epoch`."""

    epoch: int
    partition: int
    documents: int

    @property
    def key(self) -> str:
        return f"{CONTROL_PREFIX}epoch_complete/{self.epoch}/{self.partition}"
