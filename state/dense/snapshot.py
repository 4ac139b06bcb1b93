"""A dense index on disk: one archive (`state/archives.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from state.archives import as_array, as_text, open_archive, write_archive
from state.dense.enlarging import enlarged, more_than
from streams.errors import StateError

SCHEMA_VERSION = 1


class SnapshotNote(BaseModel):
    """What a snapshot was made of. `stamp`: the encoder of its vectors."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    stamp: str
    dimension: int
    nodes: int


class Snapshot(NamedTuple):
    """The graph; row i of each array belongs to node i. Read from disk, arrays have room for more nodes."""

    codes: NDArray[np.uint8]  # (n, half)
    weights: NDArray[np.float32]  # (n, 2)
    links: NDArray[np.int32]  # (n, WIDTH)
    identities: NDArray[np.int64]  # (n,)
    slots: NDArray[np.int32]  # (n,), as they were: without room
    landmarks: NDArray[np.int32]  # (m,) nodes


def write_snapshot(path: Path, note: SnapshotNote, snapshot: Snapshot) -> None:
    """Write a snapshot in place of an earlier one."""
    write_archive(path, [("note", as_array(note.model_dump_json())), *snapshot._asdict().items()])


def read_snapshot(path: Path, *, stamp: str) -> tuple[SnapshotNote, Snapshot]:
    """Read a snapshot.

    Raises:
        StateError: it is missing, damaged, of another schema or of the vectors of another encoder; delete
            it, and the index is built again from stored vectors.
    """
    try:
        with open_archive(path) as arrays:
            note = SnapshotNote.model_validate_json(as_text(arrays["note"]))
            _check(path, note, stamp)
            room = more_than(note.nodes)
            roomy = {
                name: enlarged(arrays[name], room) for name in ("codes", "weights", "links", "identities")
            }
            return note, Snapshot(**roomy, slots=arrays["slots"], landmarks=arrays["landmarks"])
    except ValidationError as error:
        raise StateError(f"there is no whole dense snapshot at {path}: {error}") from error


def _check(path: Path, note: SnapshotNote, stamp: str) -> None:
    if note.schema_version != SCHEMA_VERSION:
        raise StateError(
            f"{path} has schema {note.schema_version}, this version reads {SCHEMA_VERSION}: delete it"
        )
    if note.stamp != stamp:
        raise StateError(f"{path} holds vectors of {note.stamp}, not of {stamp}: delete it")
