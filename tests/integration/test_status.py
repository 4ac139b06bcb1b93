"""`status`, `doctor` and `topics` against a real broker, without workers."""

from __future__ import annotations

import uuid

import orjson
import pytest
from typer.testing import CliRunner

from streams.clients import producer, reader
from streams.headers import now_ms
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from trieflow import Client
from trieflow.cli import app
from trieflow.doctor import examine
from trieflow.status import gather

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(broker, tmp_path) -> Settings:
    return load_settings(
        brokers=broker.bootstrap, prefix=f"status-{uuid.uuid4().hex[:8]}.", partitions=2, data=tmp_path
    )


@pytest.fixture
def run(settings):
    flags = ["--brokers", settings.brokers, "--prefix", settings.prefix, "--partitions", "2"]

    def type_in(line: str):
        return CliRunner().invoke(app, [*flags, "--data", str(settings.data), *line.split()])

    return type_in


def test_topics_are_created_once_shown_and_checked(run):
    missing = run("topics check --json")
    assert missing.exit_code == 1
    assert {row["partitions"] for row in orjson.loads(missing.stdout)} == {None}
    assert "23 of them new" in run("topics create").stdout
    assert "0 of them new" in run("topics create").stdout
    assert run("topics check").exit_code == 0
    shown = {row["topic"].split(".", 1)[1]: row for row in orjson.loads(run("topics show --json").stdout)}
    assert shown["documents"]["cleanup_policy"] == "compact"
    assert shown["codebooks"]["partitions"] == 1


def test_a_wrong_partition_count_is_an_error_that_says_what_to_do(run):
    run("topics create")
    done = run("--partitions 3 topics create")
    assert done.exit_code == 1
    assert "TRIEFLOW_PARTITIONS" in done.stderr


def test_status_counts_what_was_written_and_what_a_group_has_left(run, settings):
    create_topics(settings)
    with Client(settings) as client:
        client.publish_many((f"doc-{n}", {"title": "x"}) for n in range(10))
    _read_some(settings, count=4)
    found = gather(settings)
    ends = {line.topic: line.end for line in found.topics}
    assert ends[settings.topic("documents")] == 10
    assert ends[settings.topic("receipts")] == 0
    lag = {line.topic: (line.committed, line.lag) for line in found.lag}
    assert lag[settings.topic("documents")] == (4, 6)
    assert found.workers == []
    done = run("status")
    assert done.exit_code == 0
    assert "\t4\t10\t6" in done.stdout


def _read_some(settings: Settings, *, count: int) -> None:
    """Commit `count` records as the indexer's group would."""
    group = reader(settings, **{"group.id": settings.prefix + "indexer", "enable.partition.eof": False})
    group.subscribe([settings.topic("documents")])
    for _ in range(count):
        message = group.poll(30)
        assert message is not None
        group.commit(message, asynchronous=False)
    group.close()


def test_status_of_missing_topics_fails(run):
    done = run("status")
    assert done.exit_code == 1
    assert "documents is missing" in done.stderr


def test_doctor_is_content_with_a_good_cluster(settings):
    create_topics(settings)
    with Client(settings) as client:
        client.publish("a", {"title": "x"})
    findings = {finding.what: finding for finding in examine(settings)}
    assert {what: f.verdict for what, f in findings.items() if what in ("Kafka", "topics", "clock")} == {
        "Kafka": "good",
        "topics": "good",
        "clock": "good",
    }


def test_doctor_notices_a_clock_that_is_ahead(settings):
    create_topics(settings)
    sink = producer(settings)
    sink.produce(settings.topic("queries"), b"{}", b"q", timestamp=now_ms() + 600_000)
    assert sink.flush(20) == 0
    clock = next(finding for finding in examine(settings) if finding.what == "clock")
    assert clock.verdict == "bad"
    assert "NTP" in clock.found
