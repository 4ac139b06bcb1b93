"""kill -9 of a learner that forgets somebody, in every gap between its steps; and after it has lost its disk."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest

from agents.keyed_hashes import KeyedHashes
from streams.broker import EmbeddedBroker
from streams.events.forgetting import ForgetReceipt, UserSalt
from streams.headers import TYPES, cloud_event
from tests.recovery.clicks import Clicks
from tests.recovery.system import System
from tests.recovery.test_learner_kills import PLACES, assert_learned
from tests.recovery.waiting import eventually

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

_SETTLED_S = 60.0


@pytest.fixture(scope="module")
def learned(
    broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, Clicks]]:
    """One system for all places; its first click is learned, so that all else is expected to be clicked."""
    with System(broker.bootstrap, tmp_path_factory.mktemp("forgetful"), learning__batch="8") as system:
        clicks = Clicks(system, seed=99)
        clicks.one()
        learner = system.start("learner").wait_ready()
        eventually(clicks.remembered, _SETTLED_S, what="the first click is remembered")
        assert learner.stop() == 0
        yield system, clicks


def receipts(system: System, request_id: str) -> list[ForgetReceipt]:
    found = [ForgetReceipt.model_validate_json(each.value or b"") for each in system.records("forgotten")]
    return [each for each in found if each.request_id == request_id]


@pytest.mark.parametrize("place", PLACES)
def test_a_learner_killed_while_it_forgets_ends_where_nobody_was(
    learned: tuple[System, Clicks], place: str
) -> None:
    system, clicks = learned
    person = f"{place} ".ljust(64, "0")
    clicks.of_somebody(person, 20)
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    eventually(
        lambda: clicks.remembered().keys() >= clicks.truth().keys(), _SETTLED_S, what="all is taken in"
    )
    assert learner.stop() == 0
    request_id = clicks.forget(person)
    clicks.of_somebody(person, 10)  # of searchers that do not know it yet
    assert system.start("learner", crash_at=f"{place}:1").wait_exit() == -9
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    assert_learned(clicks)
    assert receipts(system, request_id)
    assert learner.stop() == 0


def test_a_learner_that_lost_its_disk_finds_nobody_again(learned: tuple[System, Clicks]) -> None:
    system, clicks = learned
    person = "lost".ljust(64, "0")
    clicks.of_somebody(person, 20)
    request_id = clicks.forget(person)
    clicks.of_somebody(person, 20)
    learner = system.start("learner").wait_ready()
    eventually(lambda: receipts(system, request_id), _SETTLED_S, what="the request is answered")
    assert_learned(clicks)
    learner.kill()
    shutil.rmtree(system.folder("learner"))
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    assert_learned(clicks)
    assert learner.stop() == 0
    assert len(receipts(system, request_id)) == 2, "the request was carried out again"


def typed(system: System, *arguments: str, crash_at: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """`trieflow forget` in a process of its own, perhaps killed at a place."""
    settings = system.settings
    flags = [f"--brokers={settings.brokers}", f"--prefix={settings.prefix}", f"--data={settings.data}"]
    flags += ["--partitions=2", "--encoder=hash"]
    more = {} if crash_at is None else {"TRIEFLOW_CRASH_AT": crash_at}
    return subprocess.run(
        [sys.executable, "-m", "trieflow", *flags, "forget", *arguments, "--json"],
        env=os.environ | {"TRIEFLOW_CONFIG": os.devnull} | more,
        capture_output=True,
        timeout=90,
    )


def living_salts(system: System) -> set[bytes]:
    latest = {record.key or b"": record.value for record in system.records("user-salts")}
    return {key for key, value in latest.items() if value is not None}


@pytest.mark.parametrize("place", ["asked", "confirmed"])
def test_a_command_that_was_killed_is_run_again_and_ends_the_same(
    learned: tuple[System, Clicks], place: str
) -> None:
    system, clicks = learned
    hashes, user, salt = KeyedHashes(system.settings), f"anna {place}", secrets.token_hex(32)
    system.producer.produce(
        system.settings.topic("user-salts"),
        key=f"{hashes.salt_key(user)}/0".encode(),
        value=UserSalt(salt=salt).to_json(),
        headers=cloud_event(event_type=TYPES["user-salts"], source="test"),
    )
    clicks.of_somebody(hashes.person(user, salt=salt), 20)
    clicks.many(5)
    learner = system.start("learner").wait_ready()
    assert typed(system, "--user", user, "--yes", crash_at=place).returncode == -9
    assert len(living_salts(system)) == 1, "the salt outlives the request until the learner has confirmed it"
    done = typed(system, "--user", user, "--yes")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["salts_destroyed"] == 1
    assert not living_salts(system)
    assert_learned(clicks)
    assert learner.stop() == 0


def test_without_a_learner_the_request_stands_and_the_next_one_carries_it_out(
    learned: tuple[System, Clicks],
) -> None:
    system, clicks = learned
    hashes, salt = KeyedHashes(system.settings), secrets.token_hex(32)
    key = f"{hashes.salt_key('carl')}/0".encode()
    system.producer.produce(system.settings.topic("user-salts"), key=key, value=UserSalt(salt=salt).to_json())
    clicks.of_somebody(hashes.person("carl", salt=salt), 20)
    refused = typed(system, "--user", "carl", "--yes", "--timeout", "1")
    assert refused.returncode == 1
    assert b"trieflow worker learner" in refused.stderr
    assert living_salts(system) == {key}
    done = orjson.loads(typed(system, "--user", "carl", "--yes", "--no-wait").stdout)
    assert "learner" not in done
    assert not living_salts(system)
    learner = system.start("learner").wait_ready()
    eventually(lambda: receipts(system, done["request_id"]), _SETTLED_S, what="the request is answered")
    assert_learned(clicks)
    assert learner.stop() == 0
