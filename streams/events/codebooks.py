"""`codebooks` (fitted trees and which one is active) and `moves` (re-id requests after a split)."""

from __future__ import annotations

from pydantic import Field

from streams.events.base import Event, LogPosition
from streams.semantic_id import LeafText, SemanticIdText

ACTIVE_KEY = "active"


def epoch_key(epoch: int) -> str:
    """The key of an epoch's record in `codebooks`."""
    return f"epoch/{epoch}"


class CodebookEpoch(Event):
    """A fitted tree: where its arrays are kept and what they were fitted on. Key: `epoch/<n>`."""

    epoch: int
    stamp: str
    uri: str
    sha256: str
    fitted_on: int
    leaves: int


class LeafState(Event):
    """The full state of one leaf that was split, born or merged. Key: `epoch/<n>/leaf/<c.s.k>`."""

    centroid: str
    parent: str
    size_at: int
    born_from: str | None = None
    gone: bool | None = None


class ActiveEpoch(Event):
    """Which epoch serves from now on; `switch_at`: log positions complete in it. Key: `active`."""

    epoch: int
    switch_at: list[LogPosition] = Field(default_factory=list)


class Move(Event):
    """Give this document an id in that leaf. Key: document id. Idempotent."""

    document_id: str
    from_id: SemanticIdText
    to_leaf: LeafText
    epoch: int
    codebook_offset: int
