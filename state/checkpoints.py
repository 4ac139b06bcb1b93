"""Copies of shards, which shorten a rebuild, and the safe deletion of one.

A checkpoint is a folder: `database/` and `checkpoint.json`, which says what is in it. It appears under its
name when it is complete; so does a restored shard. Killed in between, leftovers are cleared the next time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from state.shard import SCHEMA_VERSION, STAMP, Shard
from streams.errors import StateError

_NOTE, _DATABASE = "checkpoint.json", "database"


class CheckpointNote(BaseModel):
    """What a checkpoint holds: the next log offset by partition, and sha256 of each file."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    stamp: str | None
    written_at: float | None
    positions: dict[int, int]
    files: dict[str, str]


def save_checkpoint(shard: Shard, folder: Path) -> CheckpointNote:
    """Copy an open shard to `folder`, in place of an earlier checkpoint. Its writer waits meanwhile."""
    partial, earlier = _cleared(folder, "partial"), _cleared(folder, "earlier")
    partial.mkdir(parents=True)
    positions = shard.checkpoint(partial / _DATABASE)
    note = CheckpointNote(
        schema_version=SCHEMA_VERSION,
        stamp=shard.meta_get(STAMP),
        written_at=shard.written_at(),
        positions=positions,
        files=_checksums(partial / _DATABASE),
    )
    (partial / _NOTE).write_text(note.model_dump_json())
    if folder.exists():
        os.replace(folder, earlier)
    os.replace(partial, folder)
    _cleared(folder, "earlier")
    return note


def restore_checkpoint(folder: Path, path: Path) -> CheckpointNote:
    """Make the shard at `path` from a checkpoint; the rest is read from the log.

    Raises StateError, with nothing left at `path`, when the checkpoint is missing, damaged or of another
    schema, and when there is a shard at `path` already.
    """
    note = _read_note(folder)
    if path.exists():
        raise StateError(f"{path} exists: close and delete it before a checkpoint is restored there")
    partial = _cleared(path, "partial")
    shutil.copytree(folder / _DATABASE, partial)
    if _checksums(partial) != note.files:
        shutil.rmtree(partial)
        raise StateError(f"the checkpoint {folder} is damaged: delete it, the shard is rebuilt from the log")
    os.replace(partial, path)
    return note


def delete_shard(path: Path) -> None:
    """Delete a closed shard. Killed half way, what is left is not taken for a shard."""
    doomed = _cleared(path, "deleted")
    if path.exists():
        os.replace(path, doomed)
        shutil.rmtree(doomed)


def _read_note(folder: Path) -> CheckpointNote:
    try:
        note = CheckpointNote.model_validate_json((folder / _NOTE).read_bytes())
    except (OSError, ValidationError) as error:
        raise StateError(f"there is no whole checkpoint in {folder}: {error}") from error
    if note.schema_version != SCHEMA_VERSION:
        raise StateError(
            f"the checkpoint {folder} has schema {note.schema_version}, this version reads "
            f"{SCHEMA_VERSION}: delete it, the shard is rebuilt from the log"
        )
    return note


def _checksums(database: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(database.iterdir()):
        with path.open("rb") as file:
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _cleared(path: Path, word: str) -> Path:
    """A sibling of `path` for work in progress, emptied of what a killed process left there."""
    sibling = path.with_name(f"{path.name}.{word}")
    if sibling.exists():
        shutil.rmtree(sibling)
    return sibling
