"""Named arrays in one file on disk, which is whole or not there.

An npz archive without compression, with a checksum for each array. It is written under another name and takes its
place when it is complete; killed at any moment, the earlier one is still good.
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import StateError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_AT_ONCE = 8_000_000
"""Bytes that are written before the disk has them."""
Archive = Mapping[str, NDArray[Any]]


def write_archive(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write arrays one after the other, in place of an earlier file. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Paced(partial) as file:
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        os.fsync(file.fileno())
    os.replace(partial, path)


class _Paced(io.FileIO):
    """A new file that leaves the disk alone half of the time.

    Hundreds of MB at once would stop all who read meanwhile, for seconds: searches read titles from the same disk.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._unsynced = 0

    def write(self, data: ReadableBuffer) -> int:
        written = super().write(data)
        self._unsynced += written
        if self._unsynced >= _AT_ONCE:
            self._unsynced = 0
            started = time.perf_counter()
            os.fsync(self.fileno())
            time.sleep(time.perf_counter() - started)
        return written


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The arrays of a file, each read when it is asked for. Raises StateError where it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError as error:
        raise StateError(f"there is no {path}") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StateError(f"{path} is not whole: {error}") from error


def check_archive(path: Path) -> None:
    """Read all of it. Raises StateError where a checksum is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise StateError(f"{path} is not whole: {error}") from error
    if damaged is not None:
        raise StateError(f"{path} is not whole: {damaged} is damaged")


def nested(parts: Mapping[str, Archive]) -> dict[str, NDArray[Any]]:
    """The arrays of several parts, each name behind that of its part."""
    return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def below(part: str, arrays: Archive) -> dict[str, NDArray[Any]]:
    """The inverse of `nested`, for one part."""
    return {name[len(part) + 1 :]: arrays[name] for name in arrays if name.startswith(f"{part}/")}


def as_array(text: str) -> NDArray[np.uint8]:
    """A text as an array of its bytes."""
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def as_text(array: NDArray[Any]) -> str:
    """The inverse of `as_array`."""
    return array.tobytes().decode("utf-8", "surrogatepass")
