"""Users as hashes by a salt of their own: a user is known again until the salt is destroyed, and not after that.

A user who asks for the first time is given a salt in `user-salts`. A searcher proposes one and uses what the topic
says: where two propose at the same time, the record that stands first counts for both. Answers do not wait for
that, impressions do.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agents.disk_following import DiskFollower, opened
from agents.keyed_hashes import KeyedHashes
from agents.outbox import Outbox, Outgoing
from state.salts import SaltRecord, Salts
from streams.events.forgetting import UserSalt
from streams.events.impressions import Impression
from streams.headers import TYPES, cloud_event
from streams.records import Record
from streams.settings import Settings

SOURCE = "trieflow/searcher"
_SALT_BYTES, _PROPOSAL_BYTES = 32, 8


@dataclass(frozen=True)
class Pseudonym:
    """What stands for a user in impressions."""

    person: str
    salt: str
    hashes: KeyedHashes

    def put_on(self, impression: Impression) -> Impression:
        """The impression with its user and its session as hashes by the salt."""
        session = impression.session_id
        hashed = None if session is None else self.hashes.session(session, salt=self.salt)
        return impression.model_copy(update={"user": self.person, "session_id": hashed})


class Pseudonyms(DiskFollower[SaltRecord]):
    """Follows `user-salts` into a RocksDB in `folder`. Knows users by their salts, gives one to who has none."""

    def __init__(
        self, settings: Settings, folder: Path, *, cluster: str, hashes: KeyedHashes, outbox: Outbox
    ) -> None:
        max_age_s = settings.retention.tombstones_h * 3_600
        self._salts = opened(partial(Salts, cluster=cluster, max_age_s=max_age_s), folder)
        super().__init__(settings, "user-salts", self._salts)
        self._hashes = hashes
        self._outbox = outbox
        self._waiting: dict[str, Future[str]] = {}
        self._lock = threading.Lock()

    def known(self, user_id: str) -> Pseudonym | None:
        """The pseudonym of a user, None for one who has no salt yet. A read of the disk."""
        salt = self._salts.of(self._hashes.salt_key(user_id))
        return None if salt is None else self._pseudonym(user_id, salt)

    async def of(self, user_id: str) -> Pseudonym:
        """The pseudonym of a user, after the topic has told the salt. Raises BrokerError."""
        key = self._hashes.salt_key(user_id)
        with self._lock:
            told, is_first = self._waiting.get(key), key not in self._waiting
            if told is None:
                told = self._waiting[key] = Future()
        # Looked up behind that: what the topic told before, nobody would be told.
        salt = await asyncio.get_running_loop().run_in_executor(None, self._salts.of, key)
        if salt is not None:
            self._tell(key, salt)
        elif is_first:
            await self._outbox.send([self._proposal(key)])
        return self._pseudonym(user_id, await asyncio.shield(asyncio.wrap_future(told)))

    # -- the thread that follows ------------------------------------------------------------------------

    def read(self, record: Record) -> SaltRecord:
        return read_salt(record)

    def applied(self, records: Sequence[SaltRecord]) -> None:
        for user in {record.user for record in records}:
            salt = self._salts.of(user)
            if salt is not None:
                self._tell(user, salt)

    # -- helpers ----------------------------------------------------------------------------------------

    def _tell(self, key: str, salt: str) -> None:
        with self._lock:
            told = self._waiting.pop(key, None)
        if told is not None:
            told.set_result(salt)

    def _pseudonym(self, user_id: str, salt: str) -> Pseudonym:
        return Pseudonym(self._hashes.person(user_id, salt=salt), salt, self._hashes)

    def _proposal(self, key: str) -> Outgoing:
        return Outgoing(
            self._settings.topic("user-salts"),
            f"{key}/{secrets.token_hex(_PROPOSAL_BYTES)}".encode(),
            UserSalt(salt=secrets.token_hex(_SALT_BYTES)).to_json(),
            cloud_event(event_type=TYPES["user-salts"], source=SOURCE),
            0,
        )


def read_salt(record: Record) -> SaltRecord:
    """A record of `user-salts`. Raises ValueError when it is none."""
    user, _, proposal = (record.key or b"").decode().partition("/")
    if len(bytes.fromhex(user)) != _SALT_BYTES or not proposal:
        raise ValueError("the key is not <hash of the user>/<proposal>")
    salt = None if record.value is None else UserSalt.model_validate_json(record.value).salt
    return SaltRecord(record.offset, user, proposal, salt)
