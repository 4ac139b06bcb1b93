"""Records of the `assignments` log, as state takes them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.events.assignments import Assignment, EpochComplete
from streams.events.base import SourceAddress

EpochCode = tuple[int, int]
"""A packed semantic id and the epoch that gives it its meaning: (epoch, packed id)."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted document: the ids it had (epoch -> packed id), those it gave up before, its last version.

    Like an assignment it is the whole truth about its document, for compaction leaves nothing else of it.
    """

    ids: Mapping[int, int]
    version: int | None
    source: SourceAddress
    retired: tuple[EpochCode, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log; exactly one of `assignment`, `tombstone` and `control` is set."""

    partition: int
    offset: int
    key: str
    assignment: Assignment | None
    tombstone: Tombstone | None
    control: EpochComplete | None = None
