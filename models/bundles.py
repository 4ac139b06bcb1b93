"""Bundles: what a searcher loads and swaps as one thing. A folder of files and a manifest that says what they are.

Kept below one fsspec URL, as `<name>@<version>/`. A bundle is never changed, another version is another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import fsspec.core
import structlog
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from models.decoder.decoder import FILES as DECODER_FILES
from models.decoder.decoder import Decoder
from streams.errors import ModelError

MANIFEST_FILE = "manifest.json"
UNFINISHED = ".unfinished"  # no bundle's name begins with a dot

_log = structlog.get_logger()

PlainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]
"""Safe as a part of a path on any store."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class FileRecord(_Record):
    """One file of a bundle: its checksum and size in bytes."""

    sha256: str
    size: int


class GateResult(_Record):
    """What one gate decided, and the figures that it decided by."""

    passed: bool
    figures: dict[str, float] = Field(default_factory=dict)


class Manifest(_Record):
    """What a bundle is, where it comes from, and whether it may be used.

    parent: `name@version` of the bundle it was made from. codebook_epoch: of the tree that its decoder knows.
    training_window: topic -> partition -> first offset and end (which is not in it). weights: by what they belong
    to: `decoder` may have `weight`, which then counts instead of the decoder's own.
    """

    name: PlainName
    version: PlainName
    parent: str | None = None
    encoder_stamp: str
    codebook_epoch: int | None = None
    files: dict[PlainName, FileRecord] = Field(default_factory=dict)
    training_window: dict[str, dict[int, tuple[int, int]]] = Field(default_factory=dict)
    gates: dict[str, GateResult] = Field(default_factory=dict)
    weights: dict[str, dict[str, float]] = Field(default_factory=dict)

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Bundle:
    """A manifest and the bytes of its files, which agree."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
        """A bundle of these files; the manifest's record of them is made here."""
        records = {
            name: FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            for name, content in files.items()
        }
        return cls(Manifest.model_validate(manifest.model_dump() | {"files": records}), dict(files))

    def decoder(self, *, epoch: int) -> Decoder | None:
        """The decoder, or None when there is none or when it is for another epoch: geometry serves alone then.

        Raises ModelError when its files are damaged.
        """
        if not all(name in self.files for name in DECODER_FILES):
            return None
        if self.manifest.codebook_epoch != epoch:
            _log.warning(
                "decoder left out: it is for another epoch",
                bundle=self.manifest.reference,
                decoder_epoch=self.manifest.codebook_epoch,
                epoch=epoch,
            )
            return None
        decoder = Decoder.from_files(self.files, epoch=epoch, stamp=self.manifest.encoder_stamp)
        weight = self.manifest.weights.get("decoder", {}).get("weight")
        return decoder if weight is None else decoder.reweighted(weight)


class BundleStore:
    """Bundles below one fsspec URL (`file:`, a plain path, `s3:` …). Safe for threads and processes.

    Guarantee: a reader gets a whole bundle or none, also when the writer is killed at any line.
    """

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")

    def write(self, bundle: Bundle) -> str:
        """Keep a bundle and return its URL. Raises ModelError when it cannot, or its version is another's."""
        reference = bundle.manifest.reference
        folder = f"{self._root}/{reference}"
        manifest = bundle.manifest.model_dump_json(indent=2).encode()
        try:
            if not self._same(reference, manifest):
                self._write(folder, dict(bundle.files) | {MANIFEST_FILE: manifest})
        except ModelError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise ModelError(f"cannot write the bundle {reference}: {error}") from error
        return str(self._files.unstrip_protocol(folder))

    def _write(self, folder: str, content: Mapping[str, bytes]) -> None:
        if isinstance(self._files, LocalFileSystem):
            _write_folder(Path(folder), content)
            return
        for name, data in content.items():  # the manifest comes last: without one there is no bundle
            self._files.pipe_file(f"{folder}/{name}", data)

    def _same(self, reference: str, manifest: bytes) -> bool:
        """Whether this very bundle is there. Raises ModelError when there is another one of its name."""
        path = f"{self._root}/{reference}/{MANIFEST_FILE}"
        if not self._files.exists(path):
            return False
        if self._files.cat_file(path) != manifest:
            raise ModelError(f"there is another bundle {reference}: a version is never written over")
        return True

    def read(self, reference: str, *, stamp: str) -> Bundle:
        """The bundle `name@version`. Raises ModelError when it is missing, damaged or for another encoder."""
        manifest = self._manifest(reference)
        if manifest.encoder_stamp != stamp:
            raise ModelError(f"bundle {reference} is for vectors of {manifest.encoder_stamp}, not of {stamp}")
        files = {name: self._file(reference, name) for name in manifest.files}
        for name, record in manifest.files.items():
            if hashlib.sha256(files[name]).hexdigest() != record.sha256:
                raise ModelError(f"bundle {reference}: {name} is damaged, its checksum is another")
        return Bundle(manifest, files)

    def _manifest(self, reference: str) -> Manifest:
        try:
            manifest = Manifest.model_validate_json(self._file(reference, MANIFEST_FILE))
        except ValidationError as error:
            raise ModelError(f"bundle {reference}: {MANIFEST_FILE} is not readable: {error}") from error
        if manifest.reference != reference:
            raise ModelError(f"bundle {reference} calls itself {manifest.reference}")
        return manifest

    def _file(self, reference: str, name: str) -> bytes:
        if "/" in reference or reference.startswith("."):
            raise ModelError(f"not a bundle's name and version: {reference!r}")
        try:
            return bytes(self._files.cat_file(f"{self._root}/{reference}/{name}"))
        except FileNotFoundError as error:
            raise ModelError(f"bundle {reference}: there is no {name} in {self._root}") from error
        except Exception as error:  # each file system has errors of its own
            raise ModelError(f"bundle {reference}: {name} cannot be read: {error}") from error


def _write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Written aside and moved, which is one step to every reader; what a killed writer leaves is never read."""
    unfinished = folder.parent / UNFINISHED / uuid.uuid4().hex
    unfinished.mkdir(parents=True)
    try:
        for name, data in content.items():
            with (unfinished / name).open("wb") as file:
                file.write(data)
                os.fsync(file.fileno())
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
