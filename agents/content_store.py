"""Content by name, shared by all workers: thumbnails, vectors by content hash, codebooks.

A name is made of what it names (a SHA-256, an encoder stamp), so writing twice writes the same, a reader on
another machine needs no look-up. What is lost is missed, not needed: trees of live epochs stand in `codebooks` too.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

import fsspec.core

from streams.errors import StateError

UNFINISHED = ".unfinished"  # no name begins with a dot, so this folder is never read
ABANDONED_AFTER_S = 3_600.0  # what a killed writer left; a living one needs far less


class ContentStore:
    """Bytes by name below one fsspec URL (`file:`, a plain path, `s3:` …). Safe for threads and processes.

    Guarantee: a reader sees all of a content or nothing, also when the writer is killed at any line (after a
    power loss the newest files may be short; all that matters carries a checksum). Names are parts joined by
    `/`; characters that mean something to file systems or URLs are percent-encoded, so any stamp will do.
    """

    def __init__(self, url: str) -> None:
        self._backend = _backend(url)

    def put(self, name: str, content: bytes) -> str:
        """Keep the content and return its URL. Raises StateError when the store cannot be written."""
        path = _path(name)
        try:
            self._backend.write(path, content)
        except Exception as error:  # each file system has errors of its own
            raise StateError(f"cannot write {name!r} to the content store: {error}") from error
        return self._backend.url(path)

    def get(self, name: str) -> bytes | None:
        """Return the content of a name, or of a URL that `put` gave; None when it is not in this store."""
        path = self._backend.path(name) if "://" in name else _path(name)
        if path is None:
            return None
        try:
            return self._backend.read(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StateError(f"cannot read {name!r} from the content store: {error}") from error

    def delete(self, name: str) -> bool:
        """Delete the content of a name, or of a URL that `put` gave; returns whether it was in this store."""
        path = self._backend.path(name) if "://" in name else _path(name)
        if path is None:
            return False
        try:
            self._backend.delete(path)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise StateError(f"cannot delete {name!r} from the content store: {error}") from error
        return True

    def url(self, name: str) -> str:
        """Return the URL that a content of this name has or would have."""
        return self._backend.url(_path(name))


def _path(name: str) -> str:
    """Return the path below the root. Raises ValueError for names that could lead out of it."""
    parts = name.split("/")
    if any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"not a name of content: {name!r}")
    return "/".join(quote(part, safe="") for part in parts)


class _Backend(Protocol):
    def read(self, path: str) -> bytes:
        """Return the bytes. Raises FileNotFoundError."""
        ...

    def write(self, path: str, content: bytes) -> None: ...

    def delete(self, path: str) -> None:
        """Raises FileNotFoundError."""
        ...

    def url(self, path: str) -> str: ...

    def path(self, url: str) -> str | None:
        """Return the path behind a URL of `url`, None when it leads elsewhere."""
        ...


def _backend(url: str) -> _Backend:
    if url.startswith("file:"):
        return _Folder(Path(unquote(urlsplit(url).path)))
    return _Bucket(url) if "://" in url else _Folder(Path(url))


class _Folder:
    """A folder of this machine. Files are written aside and moved, which is one step to every reader."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._unfinished = self._folder / UNFINISHED
        self._sweep()

    def read(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.mkdir(parents=True, exist_ok=True)
        unfinished = self._unfinished / uuid.uuid4().hex
        try:
            unfinished.write_bytes(content)
            os.replace(unfinished, target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise

    def delete(self, path: str) -> None:
        (self._folder / path).unlink()

    def url(self, path: str) -> str:
        return (self._folder / path).as_uri()

    def path(self, url: str) -> str | None:
        root = self._folder.as_uri() + "/"
        return _path(unquote(unquote(url.removeprefix(root)))) if url.startswith(root) else None

    def _sweep(self) -> None:
        """Delete what killed writers left behind."""
        oldest = time.time() - ABANDONED_AFTER_S
        for file in self._unfinished.glob("*"):
            try:
                if file.stat().st_mtime < oldest:
                    file.unlink()
            except FileNotFoundError:  # another worker sweeps too
                pass


class _Bucket:
    """An object store through fsspec. An object appears when it is whole: nothing to do for atomicity."""

    def __init__(self, url: str) -> None:
        self._files, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")

    def read(self, path: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{path}"))

    def write(self, path: str, content: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{path}", content)

    def delete(self, path: str) -> None:
        self._files.rm_file(f"{self._root}/{path}")

    def url(self, path: str) -> str:
        return str(self._files.unstrip_protocol(f"{self._root}/{path}"))

    def path(self, url: str) -> str | None:
        root = self.url("")
        return _path(unquote(url.removeprefix(root))) if url.startswith(root) else None
