"""The salts of users on a searcher's disk: what `user-salts` says, up to an offset.

Of several salts of a user the one that stands first in the topic counts, and counts on until it is destroyed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson

from state.columns import Overlay
from state.topic_rows import TopicRows

SCHEMA_VERSION = 1


class SaltRecord(NamedTuple):
    """Whose salt it is (keyed hash of the user id), which of several, and the salt; None: it is destroyed."""

    offset: int
    user: str
    proposal: str
    salt: str | None

    @property
    def is_deletion(self) -> bool:
        return self.salt is None


class Salts(TopicRows[SaltRecord]):
    """By user, the salts that are not destroyed, as they stand in the topic."""

    def __init__(self, path: Path, *, cluster: str, max_age_s: float) -> None:
        super().__init__(path, "salts", schema=SCHEMA_VERSION, cluster=cluster, max_age_s=max_age_s)

    def of(self, user: str) -> str | None:
        """The salt of a user, None when there is none."""
        value = self.row(bytes.fromhex(user))
        return None if value is None else str(orjson.loads(value)[0][1])

    def take(self, rows: Overlay[str], record: SaltRecord) -> None:
        key = bytes.fromhex(record.user)
        known = orjson.loads(
            rows.get(self.column, key) or b"[]"
        )  # (proposal, salt), as they stand in the topic
        kept = [entry for entry in known if entry[0] != record.proposal]
        if record.salt is not None:
            kept.append((record.proposal, record.salt))
        rows.put(self.column, key, orjson.dumps(kept) if kept else None)
