"""The embedded Kafka itself: what it keeps, what it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.broker import EmbeddedBroker, running_broker, stop_broker
from streams.broker.ports import free_port
from streams.errors import BrokerError
from tests.recovery.waiting import eventually

pytestmark = pytest.mark.integration


def new_topic(bootstrap: str, **config: str) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(20)
    return name


def produce(bootstrap: str, topic: str, values: list[bytes], **config: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **config})
    fates: list[str] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: fates.append(str(error)))
    assert producer.flush(30) == 0
    assert fates == ["None"] * len(values)


def read_all(bootstrap: str, topic: str) -> list[bytes]:
    """Every committed record of partition 0, up to the end as it is now."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 6 * 1024 * 1024,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    try:
        while (message := consumer.poll(20)) is not None and message.error() is None:
            values.append(message.value())
        assert message is not None, "neither a record nor the end came"
    finally:
        consumer.close()
    return values


def test_what_was_written_is_there_after_stop_and_start(own_broker):
    broker = own_broker()
    first = broker.start()
    topic = new_topic(first)
    produce(first, topic, [b"a", b"b"])
    broker.stop()
    assert broker.pid is None
    assert broker.start() == first, "clients find it where it was"
    produce(first, topic, [b"c"])
    assert read_all(first, topic) == [b"a", b"b", b"c"]


def test_transactions_that_were_confirmed_are_seen_after_a_stop_in_their_middle(own_broker):
    broker = own_broker()
    bootstrap = broker.start()
    topics = [new_topic(bootstrap) for _ in range(6)]
    confirmed: dict[str, list[bytes]] = {}
    writers = [
        threading.Thread(target=_commit_until_refused, args=(bootstrap, topic, confirmed), daemon=True)
        for topic in topics
    ]
    for writer in writers:
        writer.start()
    eventually(
        lambda: all(len(confirmed.get(topic, ())) > 20 for topic in topics), 60, what="all of them write"
    )
    broker.stop()
    for writer in writers:
        writer.join()
    broker.start()
    for topic in topics:
        _writer(bootstrap, topic).init_transactions(30)  # ends what the one before it began
        seen = read_all(bootstrap, topic)
        assert seen[: len(confirmed[topic])] == confirmed[topic]
        assert len(seen) <= len(confirmed[topic]) + 1, "one was on its way"


def _commit_until_refused(bootstrap: str, topic: str, confirmed: dict[str, list[bytes]]) -> None:
    writer = _writer(bootstrap, topic)
    writer.init_transactions(30)
    values = confirmed.setdefault(topic, [])
    try:
        while True:
            writer.begin_transaction()
            writer.produce(topic, b"%d" % len(values))
            writer.commit_transaction(5)
            values.append(b"%d" % len(values))
    except KafkaException:
        writer.purge()


def _writer(bootstrap: str, topic: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": topic,
            "linger.ms": 0,
            "transaction.timeout.ms": 10_000,
            "log_level": 0,
        }
    )


def test_what_was_acknowledged_survives_kill_and_restart(own_broker):
    broker = own_broker()
    bootstrap = broker.start()
    topic = new_topic(bootstrap)
    acknowledged: list[bytes] = []

    def delivered(error: Any, message: Any) -> None:
        if error is None:
            acknowledged.append(message.value())

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1})
    for number in range(3_000):
        producer.produce(topic, b"%d" % number, on_delivery=delivered)
        producer.poll(0)
        if number == 2_000:
            while not acknowledged:
                producer.poll(0.1)
            os.kill(broker.pid, signal.SIGKILL)
    before = list(acknowledged)
    broker.kill()
    assert broker.start() == bootstrap
    assert producer.flush(60) == 0, "the same client goes on by itself"
    kept = read_all(bootstrap, topic)
    assert 0 < len(before) < 3_000
    assert kept == [b"%d" % number for number in range(3_000)], "nothing lost, doubled or out of order"
    assert kept[: len(before)] == before


def test_a_transaction_is_seen_whole_or_not_at_all(broker):
    topic = new_topic(broker.bootstrap)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for value, ends in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        ends(30)
    assert read_all(broker.bootstrap, topic) == [b"kept"]


def test_a_second_producer_of_the_same_transactional_id_fences_the_first(broker):
    topic = new_topic(broker.bootstrap)
    first, second = (
        Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic}) for _ in range(2)
    )
    first.init_transactions(30)
    first.begin_transaction()
    first.produce(topic, b"late")
    second.init_transactions(30)
    with pytest.raises(KafkaException) as raised:
        first.commit_transaction(30)
    assert raised.value.args[0].fatal()
    assert read_all(broker.bootstrap, topic) == []


def test_a_message_of_five_mebibytes_goes_through(broker):
    topic = new_topic(broker.bootstrap)
    value = os.urandom(5 * 1024 * 1024)
    produce(broker.bootstrap, topic, [value], **{"message.max.bytes": 6 * 1024 * 1024})
    assert read_all(broker.bootstrap, topic) == [value]


def test_a_topic_is_not_made_by_asking_for_it(broker):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.timeout.ms": 3_000})
    fates: list[str] = []
    producer.produce("nobody-made-this", b"x", on_delivery=lambda error, _: fates.append(error.name()))
    producer.flush(20)
    assert fates in (["UNKNOWN_TOPIC_OR_PART"], ["_UNKNOWN_TOPIC"], ["_MSG_TIMED_OUT"])
    topics = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=20).topics
    assert "nobody-made-this" not in topics


def test_it_listens_on_loopback_alone(broker):
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(broker.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_taken_port_is_an_error_that_names_it(own_broker):
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = server.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} on 127.0.0.1 is taken"):
            own_broker(port=port).start()


def test_a_kept_port_that_is_taken_is_an_error_and_usable_again_later(own_broker):
    broker = own_broker()
    bootstrap = broker.start()
    broker.stop()
    port = int(bootstrap.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(BrokerError, match=f"port {port} .* is taken"):
            broker.start()
    assert broker.start() == bootstrap


def test_a_data_folder_has_one_broker_at_a_time(own_broker):
    first, second = own_broker(), own_broker()
    first.start()
    with pytest.raises(BrokerError, match=rf"runs in .* already \(process {first.pid}\)"):
        second.start()
    first.kill()
    assert second.start() == first.bootstrap


def test_a_broker_that_ends_at_its_start_shows_its_last_words(own_broker):
    with pytest.raises(BrokerError, match=r"(?s)ended at its start.*(?i:heap)"):
        own_broker(heap_mb=1).start()


def test_a_start_cut_off_while_formatting_is_made_good(own_broker, tmp_path):
    half = tmp_path / "broker" / "log.new"
    half.mkdir(parents=True)
    (half / "bootstrap.checkpoint").write_bytes(b"half")
    assert own_broker().start()
    assert not half.exists()


def test_a_folder_with_spaces_commas_and_other_letters_is_fine_under_a_plain_locale(own_broker, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    broker = own_broker("Münchner, Daten = 東京")
    topic = new_topic(broker.start())
    produce(broker.bootstrap, topic, [b"a"])
    assert read_all(broker.bootstrap, topic) == [b"a"]


def test_a_folder_that_cannot_be_written_is_named(own_broker, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"cannot keep the broker's data in .*file"):
        own_broker("file/data").start()


def test_a_running_broker_is_left_as_it_is_by_a_second_start(own_broker):
    broker = own_broker()
    broker.start()
    pid = broker.pid
    broker.start()
    assert broker.pid == pid


OWNER = """
import sys, time
from pathlib import Path
from streams.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]), ephemeral=sys.argv[2] == "ephemeral")
broker.start()
print("serves", broker.pid, broker.bootstrap, flush=True)
time.sleep(600)
"""


def orphaned(data: Any, kind: str) -> tuple[int, str]:
    """Start a broker from a process that is then killed; return its pid and address."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data), kind], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        said = next(line for line in owner.stdout if line.startswith("serves "))
        _, pid, bootstrap = said.split()
        owner.kill()
    return int(pid), bootstrap


def test_an_ephemeral_broker_dies_with_a_killed_owner(tmp_path):
    orphaned(tmp_path, "ephemeral")
    deadline = time.monotonic() + 20
    while running_broker(tmp_path) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running_broker(tmp_path) is None


def test_a_lasting_broker_serves_on_without_its_owner_until_it_is_stopped(tmp_path):
    pid, bootstrap = orphaned(tmp_path, "lasting")
    try:
        topic = new_topic(bootstrap)
        produce(bootstrap, topic, [b"a"])
        assert running_broker(tmp_path) == pid
    finally:
        assert stop_broker(tmp_path)
    assert running_broker(tmp_path) is None
    with EmbeddedBroker(tmp_path, ephemeral=True) as again:
        assert read_all(again.bootstrap, topic) == [b"a"]


def test_ctrl_c_in_the_terminal_does_not_reach_the_broker(broker):
    assert os.getpgid(broker.pid) != os.getpgid(0)
    assert os.getsid(broker.pid) != os.getsid(0)
