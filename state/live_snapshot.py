"""A live index on disk: one archive, from which a process starts without reading every document.

It is written while the index changes. What stands together (who is in which slot, leaf and row) is copied at one
moment; the vectors follow, some of them younger. So it is good only with the log behind it: every change from the
positions in its note on is to be applied again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from state.archives import Archive, as_array, as_text, below, nested, open_archive, write_archive
from state.live_index import LiveIndex
from state.vector_rows import Block
from streams.errors import StateError

SCHEMA_VERSION = 1
_NOTE, _MORE = "note", "more"


class LiveNote(BaseModel):
    """What a snapshot was made of: the encoder and the cluster, when (seconds since the epoch), and by partition
    the log offset from which changes are to be applied again."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    stamp: str
    cluster: str
    dimension: int
    saved_at: float
    positions: Mapping[int, int]


def write_live(path: Path, index: LiveIndex, note: LiveNote, *, more: Archive) -> None:
    """Write all of the index, and `more` arrays that were taken before. Raises OSError."""
    write_archive(path, _members(index, note, more))


def read_note(path: Path) -> LiveNote:
    """What a snapshot was made of. Raises StateError when it is missing, damaged, or of another schema."""
    with open_archive(path) as arrays:
        try:
            note = LiveNote.model_validate_json(as_text(arrays[_NOTE]))
        except ValidationError as error:
            raise StateError(f"{path} has no note that can be read: {error}") from error
    if note.schema_version != SCHEMA_VERSION:
        raise StateError(f"{path} has schema {note.schema_version}, this version reads {SCHEMA_VERSION}")
    return note


def read_live(path: Path, index: LiveIndex) -> dict[str, NDArray[Any]]:
    """Fill an index that has its trees and no documents; returns `more`. Raises StateError where it is damaged:
    the index is then of no use."""
    with open_archive(path) as arrays:
        index.restore(arrays, _blocks(arrays))
        return below(_MORE, arrays)


def _members(index: LiveIndex, note: LiveNote, more: Archive) -> Iterator[tuple[str, NDArray[Any]]]:
    yield _NOTE, as_array(note.model_dump_json())
    yield from nested({_MORE: more}).items()
    yield from index.dump().items()
    for number, (coarse, fine) in enumerate(index.blocks()):
        yield f"block-{number}/coarse", coarse
        yield f"block-{number}/fine", fine


def _blocks(arrays: Archive) -> Iterator[Block]:
    number = 0
    while f"block-{number}/coarse" in arrays:
        coarse, fine = arrays[f"block-{number}/coarse"], arrays[f"block-{number}/fine"]
        yield coarse.astype(np.int8, copy=False), fine.astype(np.int8, copy=False)
        number += 1
