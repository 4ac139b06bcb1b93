"""What each user chose lately: the latest documents with a click that counted, each once.

Rows do not depend on the order of events: the latest click on a document counts, and the latest documents stay. A
second column holds who chose nothing since which day, so that what is old is found without reading all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

import orjson

from state.clicks.rows import is_user
from streams.events.profiles import ChosenDocument, Profile
from streams.settings import PersonalSettings

ColumnName = Literal["profiles", "profile_days"]
DAY_S = 86_400
_DAY_BYTES = 4
_DROPPED_AT_ONCE = 1_000


class Chosen(NamedTuple):
    """A document and when it was chosen, seconds since the epoch."""

    document_id: str
    at: float


class Rows(Protocol):
    """Where the rows stand: two columns of the learner's shard, with the changes of the batch."""

    def get(self, column: ColumnName, key: bytes) -> bytes | None:
        """The value of a key, None when there is none."""
        ...

    def put(self, column: ColumnName, key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes."""
        ...

    def stored(self, column: ColumnName) -> Iterator[tuple[bytes, bytes]]:
        """All rows in order of keys, without the changes of the batch."""
        ...


class Profiles:
    """The profiles of one batch. `touched`: by user (a hash), what is kept now; empty: nothing any more."""

    def __init__(self, rows: Rows, settings: PersonalSettings | None) -> None:
        """`settings`: None keeps no profiles."""
        self.touched: dict[str, Sequence[Chosen]] = {}
        self._rows = rows
        self._most = 0 if settings is None else settings.documents
        self._kept_s = 0.0 if settings is None else settings.days * DAY_S

    def chose(self, person: str, chosen: Chosen) -> None:
        """Note what somebody chose; only users have profiles, a session has none."""
        if not self._most or not is_user(person):
            return
        latest = dict(self.of(person))
        latest[chosen.document_id] = max(chosen.at, latest.get(chosen.document_id, chosen.at))
        found = sorted(
            (Chosen(*each) for each in latest.items()), key=lambda each: (-each.at, each.document_id)
        )
        self._put(person, found[: self._most])

    def of(self, person: str) -> Sequence[Chosen]:
        """What a user chose, the latest first."""
        value = self._rows.get("profiles", person.encode())
        return [] if value is None else [Chosen(*each) for each in orjson.loads(value)]

    def forget(self, person: str) -> None:
        """Keep nothing of a user. Told even where nothing is kept: a shard that was lost may have told more."""
        if is_user(person):
            self._put(person, [])

    def take_back(self, person: str, document_id: str) -> None:
        """Take a document out of somebody's profile."""
        chosen = self.of(person)
        left = [each for each in chosen if each.document_id != document_id]
        if len(left) < len(chosen):
            self._put(person, left)

    def forget_document(self, document_id: str) -> None:
        """Take a document out of all profiles, those of this batch too. All of them are looked through."""
        wanted = orjson.dumps(document_id)
        stored = [key.decode() for key, value in self._rows.stored("profiles") if wanted in value]
        for person in dict.fromkeys([*stored, *self.touched]):
            self.take_back(person, document_id)

    def drop_old(self, now: float) -> None:
        """Drop profiles of users who chose nothing for as long as the settings say, some at a time."""
        if not self._kept_s:
            return
        last = _day(now - self._kept_s)
        dropped = 0
        for key, _ in self._rows.stored("profile_days"):
            if key[:_DAY_BYTES] >= last or dropped >= _DROPPED_AT_ONCE:
                return
            if self._rows.get("profile_days", key) is not None:
                self._put(key[_DAY_BYTES:].decode(), [])
                dropped += 1

    def _put(self, person: str, chosen: Sequence[Chosen]) -> None:
        before = self.of(person)
        if before:
            self._rows.put("profile_days", _day(before[0].at) + person.encode(), None)
        if chosen:
            self._rows.put("profile_days", _day(chosen[0].at) + person.encode(), b"")
        self._rows.put("profiles", person.encode(), _encoded(chosen))
        self.touched[person] = chosen


def profile_event(chosen: Sequence[Chosen]) -> Profile:
    """The same for the searchers."""
    return Profile.model_construct(
        documents=[
            ChosenDocument.model_construct(
                document_id=each.document_id, at=datetime.fromtimestamp(each.at, UTC)
            )
            for each in chosen
        ]
    )


def _encoded(chosen: Sequence[Chosen]) -> bytes | None:
    return orjson.dumps(list(map(tuple, chosen))) if chosen else None


def _day(at: float) -> bytes:
    return max(0, int(at // DAY_S)).to_bytes(_DAY_BYTES)
