"""What users chose lately, on a searcher's disk: what `profiles` says, up to an offset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from state.columns import Overlay
from state.topic_rows import TopicRows

SCHEMA_VERSION = 1


class ProfileRecord(NamedTuple):
    """What a user (a hash) chose: document ids with seconds since the epoch, the latest first; None: forgotten."""

    offset: int
    person: str
    documents: Sequence[tuple[str, float]] | None

    @property
    def is_deletion(self) -> bool:
        return self.documents is None


class Profiles(TopicRows[ProfileRecord]):
    """By user, the documents."""

    def __init__(self, path: Path, *, cluster: str, max_age_s: float) -> None:
        super().__init__(path, "profiles", schema=SCHEMA_VERSION, cluster=cluster, max_age_s=max_age_s)

    def of(self, person: str, *, since: float) -> list[str]:
        """The documents of a user, the latest first; none when the latest was chosen before `since`."""
        value = self.row(person.encode())
        documents = [] if value is None else orjson.loads(value)
        return [document_id for document_id, _ in documents] if documents and documents[0][1] >= since else []

    def take(self, rows: Overlay[str], record: ProfileRecord) -> None:
        value = None if record.documents is None else orjson.dumps(record.documents)
        rows.put(self.column, record.person.encode(), value)
