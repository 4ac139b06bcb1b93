"""A dense index on disk: one file, which is whole or not there.

The file is an npz archive without compression, with a checksum for each array. It is written under another
name and takes its place when it is complete; killed at any moment, the earlier one is still good.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

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
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        header = np.frombuffer(note.model_dump_json().encode(), dtype=np.uint8)
        np.savez(file, allow_pickle=False, note=header, **snapshot._asdict())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_snapshot(path: Path, *, stamp: str) -> tuple[SnapshotNote, Snapshot]:
    """Read a snapshot.

    Raises:
        StateError: it is missing, damaged, of another schema or of the vectors of another encoder; delete
            it, and the index is built again from stored vectors.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            note = SnapshotNote.model_validate_json(arrays["note"].tobytes())
            _check(path, note, stamp)
            room = more_than(note.nodes)
            roomy = {
                name: enlarged(arrays[name], room) for name in ("codes", "weights", "links", "identities")
            }
            return note, Snapshot(**roomy, slots=arrays["slots"], landmarks=arrays["landmarks"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, ValidationError) as error:
        raise StateError(f"there is no whole dense snapshot at {path}: {error}") from error


def _check(path: Path, note: SnapshotNote, stamp: str) -> None:
    if note.schema_version != SCHEMA_VERSION:
        raise StateError(
            f"{path} has schema {note.schema_version}, this version reads {SCHEMA_VERSION}: delete it"
        )
    if note.stamp != stamp:
        raise StateError(f"{path} holds vectors of {note.stamp}, not of {stamp}: delete it")
