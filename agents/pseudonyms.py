"""Users as hashes by a salt of their own: a user is known again until the salt is destroyed, and not after that.

A user who asks for the first time is given a salt in `user-salts`. A searcher proposes one and uses what the topic
says: where two propose at the same time, the record that stands first counts for both. Answers do not wait for
that, impressions do.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import structlog

from agents.following import Follower
from agents.keyed_hashes import KeyedHashes
from agents.outbox import Outbox, Outgoing
from state.salts import SaltRecord, Salts
from streams.errors import StateError
from streams.events.forgetting import UserSalt
from streams.events.impressions import Impression
from streams.headers import TYPES, cloud_event
from streams.records import Record
from streams.settings import Settings

log = structlog.get_logger()

SOURCE = "trieflow/searcher"
_SALT_BYTES, _PROPOSAL_BYTES = 32, 8
_BATCH = 1_000


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


class Pseudonyms(Follower):
    """Follows `user-salts` into a RocksDB in `folder`. Knows users by their salts, gives one to who has none."""

    def __init__(
        self, settings: Settings, folder: Path, *, cluster: str, hashes: KeyedHashes, outbox: Outbox
    ) -> None:
        super().__init__(settings, "user-salts")
        self._hashes = hashes
        self._outbox = outbox
        self._salts = _opened(settings, folder, cluster)
        self._batch: list[SaltRecord] = []
        self._compaction_is_due = False
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

    @property
    def start_offset(self) -> int:
        return self._salts.next_offset

    def take(self, record: Record) -> None:
        try:
            self._batch.append(read_salt(record))
        except ValueError as error:
            log.warning("not a salt: left out", offset=record.offset, reason=str(error))
            return
        if len(self._batch) >= _BATCH or self.has_caught_up:
            self._apply()

    def at_end(self) -> None:
        self._apply()
        if self._compaction_is_due:
            self._compaction_is_due = False
            self._salts.compact()

    def stop(self) -> None:
        super().stop()
        self._salts.close()

    def _apply(self) -> None:
        records, self._batch = self._batch, []
        self._salts.apply(records)
        self._compaction_is_due |= any(record.salt is None for record in records)
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


def _opened(settings: Settings, folder: Path, cluster: str) -> Salts:
    max_age_s = settings.retention.tombstones_h * 3_600
    try:
        return Salts(folder, cluster=cluster, max_age_s=max_age_s)
    except StateError as error:
        log.warning("salts deleted, the topic rebuilds them", path=str(folder), reason=str(error))
        shutil.rmtree(folder, ignore_errors=True)
        return Salts(folder, cluster=cluster, max_age_s=max_age_s)
