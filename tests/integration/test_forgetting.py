"""`trieflow forget` on a running system; then everything that is kept is searched for what was forgotten."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from typer.testing import CliRunner

from agents.keyed_hashes import KeyedHashes
from streams.broker import EmbeddedBroker
from streams.events.forgetting import UserSalt
from streams.events.impressions import Impression
from streams.events.profiles import Profile
from streams.topics import topic_specs
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from trieflow.cli import app

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_WAIT_S = 90.0
THINGS = ("lamp", "kettle", "guitar", "bicycle", "teapot")


class Kept:
    """A running system and all that it keeps for longer than a log."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.asked = 0
        self.learner = system.start("learner")
        self.others = [system.start("indexer"), system.start("searcher", "a"), system.start("searcher", "b")]
        for worker in (self.learner, *self.others):
            worker.wait_ready()

    # -- people -----------------------------------------------------------------------------------------

    def visit(self, user: str, text: str, *, again: str | None = None) -> str:
        """Ask, perhaps in other words, and click the first hit; returns its document id."""
        first = self.system.client.search(text, user_id=user, session_id=f"session of {user}")
        last = first
        if again is not None:
            last = self.system.client.search(
                again, user_id=user, session_id=f"session of {user}", previous_query_id=first.query_id
            )
        assert last.hits
        self.system.client.click(last.query_id, last.hits[0].document_id)
        return last.hits[0].document_id

    def impressions(self) -> list[Impression]:
        return [Impression.model_validate_json(r.value or b"") for r in self.system.records("impressions")]

    def people(self) -> set[str]:
        return {each.user for each in self.impressions() if each.user is not None}

    def salts(self) -> dict[bytes, str]:
        """Salts that are not destroyed, by key."""
        latest = {record.key or b"": record.value for record in self.system.records("user-salts")}
        return {key: UserSalt.model_validate_json(value).salt for key, value in latest.items() if value}

    def person(self, user: str) -> str:
        """The hash of a user, as impressions carry it."""
        hashes = KeyedHashes(self.system.settings)
        key = hashes.salt_key(user).encode()
        (salt,) = [salt for name, salt in self.salts().items() if name.startswith(key)]
        return hashes.person(user, salt=salt)

    # -- what is kept -----------------------------------------------------------------------------------

    def remembered(self) -> dict[bytes, bytes]:
        """`click-memory` as who reads it now finds it."""
        return self._latest("click-memory")

    def profiles(self) -> dict[bytes, bytes]:
        """`profiles`, likewise."""
        return self._latest("profiles")

    def compacted(self) -> bytes:
        """All compacted topics, as who reads them now finds them."""
        settings = self.system.settings
        names = [spec.name.removeprefix(settings.prefix) for spec in topic_specs(settings) if spec.compacted]
        found = [item for name in names for pair in self._latest(name).items() for item in pair]
        return b"\n".join(found)

    def files(self, *folders: str) -> bytes:
        """All bytes of these folders below the data folder."""
        paths = [path for name in folders for path in (self.system.data / name).rglob("*") if path.is_file()]
        return b"\n".join(_read(path) for path in sorted(paths))

    def _latest(self, name: str) -> dict[bytes, bytes]:
        latest = {record.key or b"": record.value for record in self.system.records(name)}
        return {key: value for key, value in latest.items() if value is not None}

    # -- commands ---------------------------------------------------------------------------------------

    def run(self, *arguments: str) -> dict[str, Any]:
        settings = self.system.settings
        flags = [
            f"--brokers={settings.brokers}",
            f"--prefix={settings.prefix}",
            f"--partitions={settings.partitions}",
            f"--data={settings.data}",
            "--encoder=hash",
        ]
        done = CliRunner().invoke(app, [*flags, "forget", *arguments, "--json"])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    def lose_the_disk_of_the_learner(self) -> None:
        """It is made again from the logs."""
        self.learner.kill()
        shutil.rmtree(self.system.folder("learner"))
        self.learner = self.system.start("learner").wait_ready()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # RocksDB tidies up
        return b""


@pytest.fixture(scope="module")
def kept(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with System(broker.bootstrap, tmp_path_factory.mktemp("forgetting")) as system:
        made = Kept(system)
        for name in THINGS:
            assert system.client.publish(name, {"title": f"a {name}"}, wait=60.0).status == "indexed"
        made.visit("bert", "lamp")
        eventually(made.remembered, _WAIT_S, what="bert's click is remembered")
        yield made


def wait_until_learned(kept: Kept, thing: str) -> None:
    """Wait until the learner has taken in new queries of bert's, which come behind all that was written before."""
    before = kept.remembered()
    for _ in range(4):
        kept.asked += 1
        kept.visit("bert", f"{thing} number {kept.asked}")
    eventually(
        lambda: len(kept.remembered().keys() - before.keys()) >= 4,
        _WAIT_S,
        what="the new queries are remembered",
    )


def test_a_user_is_forgotten_everywhere_and_the_receipt_says_what_stays(kept: Kept) -> None:
    chosen = {kept.visit("anna", text) for text in ("kettle", "guitar")}
    chosen |= {kept.visit("anna", "zibbelquark", again="bicycle")}
    chosen |= {kept.visit("anna", "lamp")}  # as bert did
    wait_until_learned(kept, "teapot")
    assert len(kept.people()) == 2, "two searchers hash alike"
    person, (salt,) = kept.person("anna"), [s for k, s in kept.salts().items() if _is_of(kept, k, "anna")]
    theirs = {each.query_id for each in kept.impressions() if each.user == person}
    assert len(theirs) == 5
    before = kept.remembered()
    for text in (person, *theirs):
        assert text.encode() in kept.files("learner-0/clicks"), "what is looked for can be found"
    assert all(salt.encode() in kept.files(f"searcher-{name}") for name in "ab")

    for name in "ab":
        eventually(
            lambda n=name: person.encode() in kept.files(f"searcher-{n}/profiles"),
            _WAIT_S,
            what=f"searcher {name} has what anna chose",
        )
    profile = Profile.model_validate_json(kept.profiles()[person.encode()])
    assert {each.document_id for each in profile.documents} == chosen

    planned = kept.run("--user", "anna", "--dry-run")
    assert planned["people"] == [person]
    assert kept.person("anna") == person, "nothing was done"
    receipt = kept.run("--user", "anna", "--yes")

    assert (receipt["learner"]["impressions"], receipt["learner"]["clicks"]) == (5, 4)
    assert receipt["learner"]["removed"] >= 4
    assert receipt["salts_destroyed"] == 1
    stays = {left["topic"].removeprefix(kept.system.settings.prefix): left for left in receipt["remaining"]}
    assert stays["impressions"]["until"] > stays["queries"]["until"] > receipt["at"]
    assert stays["user-salts"]["needs_writes"]

    eventually(lambda: len(before.keys() - kept.remembered().keys()) >= 4, _WAIT_S, what="searchers are told")
    assert_gone(kept, "anna", person, salt, *theirs)
    assert kept.remembered(), "what bert taught stays"

    kept.lose_the_disk_of_the_learner()
    wait_until_learned(kept, "lamp")
    assert_gone(kept, "anna", person, salt, *theirs)

    kept.visit("anna", "kettle")
    wait_until_learned(kept, "guitar")
    assert kept.person("anna") != person, "whoever comes back is somebody new"
    assert kept.run("--user", "anna", "--yes")["learner"]["impressions"] == 1
    assert "learner" not in kept.run("--user", "anna", "--yes")


def _is_of(kept: Kept, key: bytes, user: str) -> bool:
    return key.startswith(KeyedHashes(kept.system.settings).salt_key(user).encode())


def assert_gone(kept: Kept, *texts: str) -> None:
    """None of these is in a compacted topic, or in the folders of learner and searchers."""
    folders = ("learner-0/clicks", "searcher-a", "searcher-b")
    for text in texts:
        assert text.encode() not in kept.compacted(), text
        eventually(lambda t=text: t.encode() not in kept.files(*folders), _WAIT_S, what=f"{text} is gone")


def test_a_document_is_forgotten_with_its_picture_and_what_was_clicked(kept: Kept) -> None:
    picture, other = _png((200, 10, 10)), _png((10, 200, 10))
    publish = kept.system.client.publish
    publish("secret-vase", {"title": "marmelwort vase", "images": [{"bytes": picture}]}, wait=60.0)
    publish("shared-vase", {"title": "quastenmoor vase", "images": [{"bytes": other}]}, wait=60.0)
    publish("last-vase", {"title": "a last vase", "images": [{"bytes": other}]}, wait=60.0)
    for _ in range(3):
        assert kept.visit("bert", "marmelwort vase") == "secret-vase"
    wait_until_learned(kept, "teapot")
    assert b"secret-vase" in b"".join(kept.remembered().values())
    thumbnails = {path.name for path in (kept.system.data / "content" / "thumbnails").iterdir()}
    assert _thumbnail(picture) in thumbnails

    receipt = kept.run("--document", "secret-vase", "--yes")
    assert (receipt["document"], receipt["picture"]) == ("deleted", "removed")
    shown = sum("secret-vase" in [hit.document_id for hit in each.shown] for each in kept.impressions())
    assert (receipt["learner"]["impressions"], receipt["learner"]["clicks"]) == (shown, 3)
    assert receipt["learner"]["changed"] >= 1
    assert kept.run("--document", "shared-vase", "--yes")["picture"] == "used by others"

    wait_until_learned(kept, "lamp")
    for text in (b"secret-vase", b"marmelwort"):
        assert text not in kept.compacted()
    eventually(lambda: b"secret-vase" not in kept.files("learner-0/clicks"), _WAIT_S, what="the id is gone")
    thumbnails = {path.name for path in (kept.system.data / "content" / "thumbnails").iterdir()}
    assert _thumbnail(picture) not in thumbnails
    assert _thumbnail(other) in thumbnails

    kept.lose_the_disk_of_the_learner()
    wait_until_learned(kept, "guitar")
    assert b"secret-vase" not in kept.compacted()
    eventually(lambda: b"secret-vase" not in kept.files("learner-0/clicks"), _WAIT_S, what="the id is gone")


def _png(colour: tuple[int, int, int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _thumbnail(picture: str) -> str:
    return hashlib.sha256(base64.b64decode(picture)).hexdigest() + ".webp"
