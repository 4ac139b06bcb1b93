"""What `trieflow up` leaves in the data folder, so that other commands find the system and stop it.

`up.json` says who runs and where Kafka is; `up.lock` is held for as long as that process lives, so a file left
by a killed one misleads nobody.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.errors import BrokerError, TrieflowError
from streams.settings import Settings

FILE, LOCK = "up.json", "up.lock"


class AlreadyRunningError(TrieflowError):
    """A second `trieflow up` in one data folder. Stop the first by `trieflow down`, or name another folder."""


class RunningSystem(BaseModel):
    """The system that runs in a data folder. `ready`: all workers were ready once."""

    model_config = ConfigDict(frozen=True)

    pid: int
    brokers: str
    prefix: str
    partitions: int
    embedded: bool
    ready: bool = False
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def write(self, data: Path) -> None:
        """Leave the file, whole or not at all."""
        new = data / f".{FILE}.{os.getpid()}"
        new.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(new, data / FILE)


def running_system(data: Path) -> RunningSystem | None:
    """Return what runs in the folder; None when nothing does, or when it has only begun to start."""
    if not is_held(data):
        return None
    try:
        return RunningSystem.model_validate_json((data / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises AlreadyRunningError when another one does."""
    data.mkdir(parents=True, exist_ok=True)
    with open(data / LOCK, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = running_system(data)
            who = f" (process {running.pid}, Kafka at {running.brokers})" if running else ""
            raise AlreadyRunningError(
                f"trieflow runs in {data.absolute()} already{who}. "
                f"Stop it by `trieflow down`, or name another folder by --data"
            ) from None
        (data / FILE).unlink(missing_ok=True)  # of a run that was killed
        try:
            yield
        finally:
            (data / FILE).unlink(missing_ok=True)


def is_held(data: Path) -> bool:
    """Whether a `trieflow up` lives in the folder."""
    try:
        with open(data / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def connected(settings: Settings) -> Settings:
    """Settings with a broker: the one that is named, else that of the system that runs in the data folder.

    Prefix and partitions are those of that system too, unless they were named. Raises BrokerError.
    """
    if settings.brokers:
        return settings
    running = running_system(settings.data)
    if running is None:
        raise BrokerError(
            f"no broker is named and nothing runs in {settings.data.absolute()}: start the system by "
            f"`trieflow up`, or name a cluster by --brokers or TRIEFLOW_BROKERS"
        )
    found = {"brokers": running.brokers, "prefix": running.prefix, "partitions": running.partitions}
    explicit = settings.model_fields_set - {"brokers"}
    return settings.model_copy(update={name: value for name, value in found.items() if name not in explicit})
