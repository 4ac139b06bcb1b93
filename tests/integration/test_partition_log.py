"""The fenced writer of a partition: all of a batch or nothing, and only by its latest owner."""

from __future__ import annotations

import uuid
from pathlib import Path

import orjson
import pytest

from agents.assignment_log import LogEntry
from agents.partition_log import DeadLetter, Outputs, PartitionLog, PendingReceipt
from state.records import Tombstone
from streams.broker import EmbeddedBroker
from streams.clients import transactional_producer
from streams.errors import BrokerError, FencedError
from streams.events.base import SourceAddress
from streams.events.documents import Receipt
from streams.records import Record, read_to_end
from streams.settings import Settings, load_settings
from streams.topics import create_topics

pytestmark = pytest.mark.integration

SOURCE = SourceAddress(topic="documents", partition=0, offset=7)


@pytest.fixture
def settings(broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    made = load_settings(
        brokers=broker.bootstrap, prefix=f"p{uuid.uuid4().hex[:8]}.", partitions=2, data=tmp_path
    )
    create_topics(made)
    return made


def batch(name: str) -> Outputs:
    """One log entry, and the receipt that waits for its offset."""
    entry = LogEntry(name, f"log/{name}", [], tombstone=Tombstone({}, None, SOURCE, []))
    receipt = Receipt(document_id=name, status="deleted", source=SOURCE, took_ms=1.0)
    return Outputs([entry], [PendingReceipt(receipt, f"receipt/{name}", [], 0)])


def written(settings: Settings, topic: str, partition: int = 1) -> list[Record]:
    full_name = settings.topic(topic)
    return [
        r for b in read_to_end(settings, topic=full_name, partition=partition, start=0) for r in b if r.key
    ]


def test_a_receipt_carries_the_offset_of_its_log_entry(settings: Settings) -> None:
    log = PartitionLog(settings, 1)
    first, second = (
        log.publish(batch(name), active_epoch=0, log_end=0) for name in ("a document", "another")
    )
    assert [r.offset for r in written(settings, "assignments")] == [*first, *second]
    bodies = [orjson.loads(r.value or b"") for r in written(settings, "receipts")]
    assert [b["read_after"] for b in bodies] == [[{"partition": 1, "offset": o}] for (o,) in (first, second)]
    assert written(settings, "assignments", 0) == [], "whatever the key hashes to"


def test_the_latest_owner_alone_can_write(settings: Settings) -> None:
    former = PartitionLog(settings, 1)
    former.publish(batch("before"), active_epoch=0, log_end=0)
    latest = PartitionLog(settings, 1)
    latest.publish(batch("after"), active_epoch=0, log_end=1)
    for _ in range(2):
        with pytest.raises(FencedError):
            former.publish(batch("late"), active_epoch=0, log_end=1)
    latest.publish(batch("and on"), active_epoch=0, log_end=3)
    for topic in ("assignments", "receipts"):
        assert [r.key for r in written(settings, topic)] == [b"before", b"after", b"and on"]


def test_a_batch_of_which_one_part_is_refused_leaves_nothing(settings: Settings) -> None:
    log = PartitionLog(settings, 1)
    outputs = batch("refused")
    too_large = bytes(6 * 1024 * 1024)
    outputs.dead_letters.append(DeadLetter(settings.topic("documents.dlq"), b"k", too_large, []))
    with pytest.raises(BrokerError):
        log.publish(outputs, active_epoch=0, log_end=0)
    PartitionLog(settings, 1).publish(batch("next"), active_epoch=0, log_end=0)
    assert [r.key for r in written(settings, "assignments")] == [b"next"]
    assert [r.key for r in written(settings, "receipts")] == [b"next"]
    assert written(settings, "documents.dlq", 0) == []


def test_who_starts_behind_an_open_transaction_is_told_what_hides_the_rest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    PartitionLog(settings, 1).publish(batch("seen"), active_epoch=0, log_end=0)
    topic = settings.topic("assignments")
    stranger = transactional_producer(settings, transactional_id=f"{settings.prefix}stranger", timeout_s=30)
    stranger.init_transactions(30)
    stranger.begin_transaction()
    for _ in range(3):
        stranger.produce(topic, b"hidden", b"hidden", partition=1)
    assert stranger.flush(30) == 0
    monkeypatch.setattr("streams.records._READ_TIMEOUT_S", 1.0)
    assert [r.key for r in written(settings, "assignments")] == [b"seen"]
    with pytest.raises(BrokerError, match="transaction at offset 2 that never ended hides"):
        list(read_to_end(settings, topic=topic, partition=1, start=5))
    stranger.abort_transaction(30)
