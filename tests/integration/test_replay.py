"""Dead letters go back to the topic that they came from, on a real broker."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka import TopicPartition

from streams.clients import producer, reader
from streams.dead_letters import ATTEMPTS, VERBATIM_LIMIT, dead_letter
from streams.errors import DataError
from streams.partitioner import partition_of
from streams.records import Record, raise_on_error
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from trieflow.replay import MAX_ATTEMPTS, replay_dead_letters

pytestmark = pytest.mark.integration

TRACE = ("traceparent", b"00-1-2-01")


@pytest.fixture
def settings(broker) -> Settings:
    made = load_settings(brokers=broker.bootstrap, prefix=f"replay-{uuid.uuid4().hex[:8]}.", partitions=3)
    create_topics(made)
    return made


def bury(settings: Settings, *letters: tuple[str, str], attempts: bytes = b"0") -> None:
    """Write dead letters, each (key, code), as the indexer does."""
    sink = producer(settings)
    for key, code in letters:
        body = {"gone": None, "huge": b"x" * (VERBATIM_LIMIT + 1)}.get(key, f"body of {key}".encode())
        before = [TRACE, (ATTEMPTS, attempts)]
        record = Record(settings.topic("documents"), 0, 7, key.encode(), body, before)
        letter_key, body, headers = dead_letter(record, DataError(code, "it was bad"), stage="decode")
        sink.produce(settings.topic("documents.dlq"), body, letter_key, headers=headers, partition=0)
    assert sink.flush(20) == 0


def documents(settings: Settings) -> list[Record]:
    """All that stands on `documents` now."""
    source = reader(settings)
    topic = settings.topic("documents")
    source.assign([TopicPartition(topic, partition, 0) for partition in range(settings.partitions)])
    found, ends = [], 0
    while ends < settings.partitions:
        message = source.poll(10)
        assert message is not None
        if raise_on_error(message):
            ends += 1
        else:
            found.append(Record.of(message))
    source.close()
    return found


def test_key_bytes_and_headers_come_back_without_the_error(settings):
    bury(settings, ("boot-1", "unreachable"), ("gone", "schema"))
    outcomes = []
    assert replay_dead_letters(settings, topic="documents", on_outcome=outcomes.append) == 2
    back = {record.key: record for record in documents(settings)}
    assert back[b"boot-1"].value == b"body of boot-1"
    assert back[b"gone"].value is None
    assert back[b"boot-1"].headers == [TRACE, (ATTEMPTS, b"1")]
    assert back[b"boot-1"].partition == partition_of(b"boot-1", 3)
    assert {(o.written.partition, o.written.offset) for o in outcomes} == {
        (record.partition, record.offset) for record in back.values()
    }


def test_a_second_replay_goes_on_where_the_first_ended(settings):
    bury(settings, *((f"doc-{n}", "unreachable") for n in range(5)))
    assert replay_dead_letters(settings, topic="documents", limit=2) == 2
    assert replay_dead_letters(settings, topic="documents") == 3
    assert replay_dead_letters(settings, topic="documents") == 0
    assert sorted(record.key for record in documents(settings)) == [f"doc-{n}".encode() for n in range(5)]


def test_a_dry_run_tells_and_changes_nothing(settings):
    bury(settings, ("boot-1", "unreachable"))
    outcomes = []
    assert replay_dead_letters(settings, topic="documents", dry_run=True, on_outcome=outcomes.append) == 1
    assert [(o.letter.code, o.letter.message, o.written) for o in outcomes] == [
        ("unreachable", "it was bad", None)
    ]
    assert documents(settings) == []
    assert replay_dead_letters(settings, topic="documents") == 1


def test_a_code_picks_its_letters_and_leaves_the_others_for_later(settings):
    bury(settings, ("a", "unreachable"), ("b", "schema"), ("c", "unreachable"))
    assert replay_dead_letters(settings, topic="documents", code="schema") == 1
    assert [record.key for record in documents(settings)] == [b"b"]
    assert replay_dead_letters(settings, topic="documents", code="unreachable") == 2


def test_what_failed_too_often_and_what_was_cut_short_stays(settings):
    bury(settings, ("huge", "too_large"))
    bury(settings, ("a", "schema"), attempts=str(MAX_ATTEMPTS - 1).encode())
    outcomes = []
    assert replay_dead_letters(settings, topic="documents", on_outcome=outcomes.append) == 0
    assert [o.left for o in outcomes] == ["only its beginning was kept", f"failed {MAX_ATTEMPTS} times"]
    assert documents(settings) == []
