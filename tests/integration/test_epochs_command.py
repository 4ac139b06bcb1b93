"""`trieflow epochs` against a real broker, without workers: what the topic says, and why it cannot go back."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import orjson
import pytest
from click.testing import Result
from typer.testing import CliRunner

from streams.broker import EmbeddedBroker
from streams.clients import producer
from streams.events.base import Event
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, CodebookEpoch, FitReason, epoch_key
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from trieflow.cli import app

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    settings = load_settings(brokers=broker.bootstrap, prefix=f"epochs-{uuid.uuid4().hex[:8]}.", partitions=2)
    create_topics(settings)
    return settings


@pytest.fixture
def run(settings: Settings) -> Callable[[str], Result]:
    flags = ["--brokers", settings.brokers, "--prefix", settings.prefix, "--partitions", "2"]
    return lambda line: CliRunner().invoke(app, [*map(str, flags), *line.split()])


def write(settings: Settings, *records: tuple[str, Event | None]) -> None:
    writer = producer(settings)
    for key, event in records:
        writer.produce(settings.topic("codebooks"), key=key, value=event.to_json() if event else None)
    assert writer.flush(30) == 0


def tree(epoch: int, *, reason: FitReason = "growth") -> tuple[str, Event]:
    event = CodebookEpoch(
        epoch=epoch, stamp="s", uri="file:x", sha256="0", fitted_on=epoch * 100, leaves=epoch, reason=reason
    )
    return epoch_key(epoch), event


def active(epoch: int) -> tuple[str, Event]:
    return ACTIVE_KEY, ActiveEpoch(epoch=epoch)


def states(run: Callable[[str], Result]) -> dict[int, str]:
    return {line["epoch"]: line["state"] for line in orjson.loads(run("epochs list --json").stdout)}


def test_epochs_are_listed_with_their_states_through_switches_and_deletes(
    run: Callable[[str], Result], settings: Settings
) -> None:
    assert states(run) == {0: "active"}
    write(settings, tree(1, reason="first"))
    assert states(run) == {0: "active", 1: "building"}
    write(settings, active(1), tree(2), active(2), tree(3), active(3), (epoch_key(1), None), tree(4))
    assert states(run) == {1: "retired", 2: "previous", 3: "active", 4: "building"}
    lines = run("epochs").stdout.splitlines()
    assert lines[0].split("\t") == ["epoch", "state", "leaves", "documents", "fitted", "why"]
    assert lines[1].split("\t")[:4] == ["1", "retired", "1", "100"]
    assert lines[1].split("\t")[5] == "enough documents for a first tree"


def test_a_roll_back_that_cannot_be_is_a_clear_error(
    run: Callable[[str], Result], settings: Settings
) -> None:
    for records, why in (
        ((), "nothing to go back to"),
        ((tree(1), active(1)), "nothing to go back to"),
        ((tree(2),), "epoch 2 is being built"),
    ):
        write(settings, *records)
        done = run("epochs rollback --yes")
        assert done.exit_code == 1
        assert why in done.stderr


def test_a_roll_back_is_only_said_until_it_is_meant_and_stands_until_a_curator_runs(
    run: Callable[[str], Result], settings: Settings
) -> None:
    write(settings, tree(1), tree(2), active(2))
    done = run("epochs rollback")
    assert done.exit_code == 0
    assert "would give up epoch 2 and go back to epoch 1" in done.stdout
    done = run("epochs rollback --yes --timeout 0.3")
    assert done.exit_code == 1
    assert "no curator answered" in done.stderr
    assert states(run) == {1: "previous", 2: "active"}
