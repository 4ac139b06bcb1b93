"""`codebooks` (fitted trees and which one is active) and `moves` (re-id requests after a split)."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pydantic import Field

from streams.events.base import Event, LogPosition, Whole
from streams.semantic_id import Leaf, LeafText, SemanticIdText

ACTIVE_KEY = "active"
ROLL_BACK_KEY = "roll_back"
FitReason = Literal["first", "growth", "churn", "recall"]
"""Enough documents for a first tree; more by far than the tree was fitted on; as many came or went; recall fell."""
_KEY = re.compile(r"epoch/(?P<epoch>[0-9]+)(/leaf/(?P<leaf>[0-9.]+)|/tree/(?P<part>[0-9]+))?")


def epoch_key(epoch: int) -> str:
    """The key of an epoch's record in `codebooks`."""
    return f"epoch/{epoch}"


def leaf_key(epoch: int, leaf: int) -> str:
    """The key of the record of a packed leaf in `codebooks`."""
    return f"epoch/{epoch}/leaf/{Leaf.unpacked(leaf)}"


def part_key(epoch: int, number: int) -> str:
    """The key of the record of a part of a tree in `codebooks`; parts count from 0."""
    return f"epoch/{epoch}/tree/{number}"


class CodebookKey(NamedTuple):
    """What a key of `codebooks` names; None for what it does not. A tree has neither leaf nor part."""

    epoch: int | None = None
    leaf: int | None = None
    part: int | None = None

    @property
    def is_tree(self) -> bool:
        return self.epoch is not None and self.leaf is None and self.part is None


def parse_key(key: bytes) -> CodebookKey:
    """The epoch, the packed leaf, the number of the part."""
    found = _KEY.fullmatch(key.decode())
    if found is None:
        return CodebookKey()
    return CodebookKey(
        int(found["epoch"]),
        Leaf.parse(found["leaf"]).packed() if found["leaf"] else None,
        int(found["part"]) if found["part"] else None,
    )


class CodebookEpoch(Event):
    """A fitted tree: where its arrays are kept and what they were fitted on. Key: `epoch/<n>`."""

    epoch: int
    """From 1; epoch 0 has no tree."""
    stamp: str
    """The encoder whose vectors it was fitted on."""
    uri: str
    """URL of the tree (safetensors) in the content store."""
    sha256: str
    """Of that file, hex."""
    fitted_on: int
    """Number of documents."""
    leaves: int
    """Number of leaves."""
    reason: FitReason | None = None
    """Why it was fitted."""
    parts: int = 0
    """In how many parts the file stands in this topic too, before this record."""


class TreePart(Event):
    """A part of the file of a fitted tree. Key: `epoch/<n>/tree/<i>`, from 0. Joined they have its checksum."""

    data: str = Field(json_schema_extra={"contentEncoding": "base64"})
    """Bytes in base64."""


class LeafState(Event):
    """The full state of one leaf that was split, born, moved or merged. Key: `epoch/<n>/leaf/<c.s.k>`."""

    centroid: str
    """Base64 of little-endian 16-bit floats."""
    parent: str
    """The subcategory `c.s` above it."""
    size_at: int
    """Number of documents when this was written."""
    born_from: str | None = None
    """The leaf `c.s.k` that was split."""
    gone: bool | None = None
    """True when the leaf takes no documents any more."""


class ActiveEpoch(Event):
    """Which epoch serves from now on. Key: `active`."""

    epoch: int
    """The epoch of the semantic ids in receipts and results."""
    switch_at: list[LogPosition] = Field(default_factory=list)
    """A searcher switches when it has read `assignments` so far."""
    highest: int | None = None
    """The highest epoch that was ever made: after a roll-back its number is not given again."""
    documents: int | None = None
    """After a roll-back: how many there were. The next tree is due as if this one had been fitted on them."""


class RollBack(Event):
    """A request to the curator to serve the epoch before the active one again. Key: `roll_back`.

    It stands until the curator has decided, and is then deleted in the transaction of what was decided.
    """

    from_epoch: int
    """The epoch that must be active, else nothing is done."""
    to_epoch: int
    """The epoch that must be the one before it."""


class Move(Event):
    """Give this document an id in that leaf. Key: the document id. Idempotent."""

    document_id: str
    """The document."""
    from_id: SemanticIdText
    """The id that it has in `epoch`; when it has another by now, nothing is done."""
    to_leaf: LeafText
    """The leaf `c.s.k` to move to."""
    epoch: Whole
    """The epoch of both."""
    codebook_offset: Whole
    """The state of `codebooks` that the move was decided on."""
