"""Following `profiles`: what each user chose lately, on the disk of this searcher."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from agents.disk_following import DiskFollower, opened
from state.profiles import ProfileRecord, Profiles
from streams.events.profiles import Profile
from streams.records import Record
from streams.settings import Settings

_DAY_S = 86_400


class ProfileLog(DiskFollower[ProfileRecord]):
    """Keeps the profiles in `folder`."""

    def __init__(self, settings: Settings, folder: Path, *, cluster: str) -> None:
        max_age_s = settings.retention.tombstones_h * 3_600
        self._profiles = opened(partial(Profiles, cluster=cluster, max_age_s=max_age_s), folder)
        self._personal = settings.personal
        super().__init__(settings, "profiles", self._profiles)

    def of(self, person: str) -> list[str]:
        """Documents that a user (a hash) chose, the latest first. A read of the disk."""
        since = time.time() - self._personal.days * _DAY_S
        return self._profiles.of(person, since=since)[: self._personal.documents]

    def read(self, record: Record) -> ProfileRecord:
        person = (record.key or b"").decode()
        if not person:
            raise ValueError("a profile has the hash of a user as its key")
        if record.value is None:
            return ProfileRecord(record.offset, person, None)
        told = Profile.model_validate_json(record.value)
        chosen = [(each.document_id, each.at.timestamp()) for each in told.documents]
        return ProfileRecord(record.offset, person, chosen)
