"""Salts on a real topic: searchers that meet a user at the same time agree, and forget together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from agents.keyed_hashes import KeyedHashes
from agents.outbox import Outbox, Outgoing
from agents.pseudonyms import Pseudonyms
from streams.records import read_to_end
from streams.settings import Settings, load_settings
from streams.topics import cluster_id, create_topics
from tests.recovery.waiting import eventually

pytestmark = pytest.mark.integration

USERS = [f"user {n}" for n in range(30)]


@pytest.fixture
def settings(broker, tmp_path) -> Settings:
    made = load_settings(
        brokers=broker.bootstrap, prefix=f"salts-{uuid.uuid4().hex[:8]}.", partitions=1, data=tmp_path
    )
    create_topics(made)
    return made


@contextmanager
def following(settings: Settings, folder: Path) -> Iterator[Pseudonyms]:
    outbox = Outbox(settings)
    made = Pseudonyms(
        settings, folder, cluster=cluster_id(settings), hashes=KeyedHashes(settings), outbox=outbox
    )
    made.start()
    yield made
    made.stop()
    outbox.close()


def salts(settings: Settings) -> list[bytes]:
    topic = settings.topic("user-salts")
    return [r.key or b"" for batch in read_to_end(settings, topic=topic, partition=0, start=0) for r in batch]


def send(settings: Settings, key: bytes, value: bytes | None) -> None:
    outbox = Outbox(settings)
    asyncio.run(outbox.send([Outgoing(settings.topic("user-salts"), key, value, [], 0)]))
    outbox.close()


def test_two_searchers_that_meet_users_at_the_same_time_agree(settings: Settings, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(following(settings, tmp_path / name)) for name in "ab")

        async def meet() -> list[str]:
            asked = [each.of(user) for user in USERS for each in (one, two, one)]
            return [pseudonym.person for pseudonym in await asyncio.gather(*asked)]

        met = asyncio.run(meet())
        assert all(len(set(met[n : n + 3])) == 1 for n in range(0, len(met), 3))
        assert len(set(met)) == len(USERS)
        assert len(salts(settings)) <= 2 * len(USERS), "a searcher proposes once"
        late = stack.enter_context(following(settings, tmp_path / "late"))
        known = [late.known(user) for user in USERS]
        assert [each and each.person for each in known] == met[::3]


def test_a_destroyed_salt_makes_somebody_new_and_a_restart_reads_the_tail_alone(
    settings: Settings, tmp_path: Path
) -> None:
    with following(settings, tmp_path / "a") as searcher:
        before = asyncio.run(searcher.of("anna")).person
        (key,) = salts(settings)
        send(settings, key, None)
        eventually(lambda: searcher.known("anna") is None, 30.0, what="the salt is destroyed")
        after = asyncio.run(searcher.of("anna")).person
        assert after != before
    with following(settings, tmp_path / "a") as searcher:
        assert searcher.start_offset == 3
        known = searcher.known("anna")
        assert known is not None
        assert known.person == after


def test_what_is_no_salt_is_left_out_and_stops_nobody(settings: Settings, tmp_path: Path) -> None:
    for key, value in [
        (b"not hexadecimal/0", b"{}"),
        (b"aa/0", b"{}"),
        (b"\xff", None),
        (b"ab" * 32 + b"/0", b"no"),
    ]:
        send(settings, key, value)
    with following(settings, tmp_path / "a") as searcher:
        assert asyncio.run(searcher.of("anna")).person
        assert searcher.failure is None
