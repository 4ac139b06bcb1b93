"""The client against a real broker. A few lines of plain Kafka stand where the workers are, so that the test
decides what is answered, when, and in which order."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
import pytest
from confluent_kafka import Message, Producer

from streams.clients import producer, reader
from streams.errors import BrokerError, DataError
from streams.events.documents import Document
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from trieflow import Client, NoAnswerError

pytestmark = pytest.mark.integration

Answer = Callable[[Producer, Message], None]


@pytest.fixture
def settings(broker) -> Settings:
    made = load_settings(brokers=broker.bootstrap, prefix=f"client-{uuid.uuid4().hex[:8]}.", partitions=4)
    create_topics(made)
    return made


@contextmanager
def answering(settings: Settings, topic: str, answer: Answer) -> Iterator[None]:
    """Call `answer` for each record of `topic` that is written from now on."""
    stop, ready = threading.Event(), threading.Event()

    def run() -> None:
        source = reader(settings, **{"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
        source.subscribe([settings.topic(topic)], on_assign=lambda *_: ready.set())
        sink = producer(settings)
        while not stop.is_set():
            message = source.poll(0.05)
            if message is not None and message.error() is None:
                answer(sink, message)
        sink.flush(10)
        source.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        stop.set()
        thread.join()


def passed_on(message: Message) -> list[tuple[str, bytes]]:
    return [(name, value) for name, value in message.headers() or [] if name == "correlation-id"]


def send_receipt(settings: Settings, sink: Producer, message: Message, status: str = "indexed") -> None:
    source = {"partition": message.partition(), "offset": message.offset()}
    body = {"document_id": message.key().decode(), "status": status, "source": source, "took_ms": 1.0}
    sink.produce(settings.topic("receipts"), orjson.dumps(body), message.key(), headers=passed_on(message))
    sink.poll(0)


def send_answer(settings: Settings, sink: Producer, message: Message) -> None:
    text = orjson.loads(message.value())["parts"][0]["text"]
    hit = {"document_id": text, "semantic_id": None, "score": 1.0, "position": 1}
    body = {"query_id": message.key().decode(), "hits": [hit]}
    sink.produce(settings.topic("results"), orjson.dumps(body), message.key(), headers=passed_on(message))
    sink.poll(0)


def test_a_receipt_comes_back_to_the_document_that_caused_it(settings):
    with (
        answering(settings, "documents", lambda sink, message: send_receipt(settings, sink, message)),
        Client(settings) as client,
    ):
        receipt = client.publish("boot-1", Document(title="Red boots"), wait=True)
        again = client.publish("boot-1", {"title": "Red boots"}, wait=20)
        gone = client.delete("boot-1", wait=True)
    assert [r.document_id for r in (receipt, again, gone)] == ["boot-1"] * 3
    assert receipt.source.offset < again.source.offset < gone.source.offset


def test_a_publish_without_waiting_tells_the_address(settings):
    with Client(settings) as client:
        address = client.publish("boot-1", {"title": "Red boots"})
        later = client.delete("boot-1")
    assert address.topic == settings.topic("documents")
    assert (later.partition, later.offset) == (address.partition, address.offset + 1)


def test_a_receipt_is_found_later_by_another_client(settings):
    with answering(settings, "documents", lambda sink, message: send_receipt(settings, sink, message)):
        with Client(settings) as client:
            first = client.publish("boot-1", {"title": "one"}, wait=True)
            second = client.publish("boot-1", {"title": "two"}, wait=True)
            client.publish("boot-2", {"title": "another"}, wait=True)
    with Client(settings) as other:
        assert other.receipt("boot-1", offset=first.source.offset).source == first.source
        assert other.receipt("boot-1").source == second.source
        with pytest.raises(NoAnswerError, match="trieflow status"):
            other.receipt("boot-1", offset=10_000, timeout=0.3)


def test_answers_find_their_questions_whatever_their_order(settings):
    kept: list[Message] = []

    def backwards(sink: Producer, message: Message) -> None:
        kept.append(message)
        if len(kept) == 20:
            for each in reversed(kept):
                send_answer(settings, sink, each)

    with answering(settings, "queries", backwards), Client(settings) as client:
        pending = [client.search_async(f"text {n}", timeout=20) for n in range(20)]
        found = [each.result().hits[0].document_id for each in pending]
        where = [(each.address().topic, each.reply_address().topic) for each in pending]
    assert found == [f"text {n}" for n in range(20)]
    assert set(where) == {(settings.topic("queries"), settings.topic("results"))}


def test_a_query_tells_the_searcher_its_deadline_and_where_to_answer(settings):
    seen: list[dict[str, bytes]] = []

    def look(sink: Producer, message: Message) -> None:
        seen.append(dict(message.headers()) | {"key": message.key()})
        send_answer(settings, sink, message)

    with answering(settings, "queries", look), Client(settings) as client:
        before = time.time() * 1_000
        result = client.search("boots", timeout=7)
        after = time.time() * 1_000
    headers = seen[0]
    assert headers["key"].decode() == result.query_id == headers["correlation-id"].decode()
    assert headers["reply-to"].decode() == settings.topic("results")
    assert before + 6_999 <= float(headers["deadline"]) <= after + 7_001
    assert headers["ce_type"] == b"trieflow.query.asked.v1"


def test_no_answer_in_time_says_where_the_question_stands(settings):
    with (
        Client(settings) as client,
        pytest.raises(NoAnswerError, match=r"queries partition \d+ offset 0.*status"),
    ):
        client.search("boots", timeout=0.1)


def test_publishing_many_holds_back_and_hands_over_every_receipt(settings):
    under_way, most, lock = 0, 0, threading.Lock()
    received: list[str] = []

    def slowly(sink: Producer, message: Message) -> None:
        nonlocal under_way
        with lock:
            under_way -= 1
        send_receipt(settings, sink, message)

    def documents() -> Iterator[tuple[str, dict[str, str]]]:
        nonlocal under_way, most
        for n in range(300):
            with lock:
                under_way += 1
                most = max(most, under_way)
            yield f"doc-{n}", {"title": f"number {n}"}

    with answering(settings, "documents", slowly), Client(settings) as client:
        count = client.publish_many(
            documents(), on_receipt=lambda receipt: received.append(receipt.document_id), in_flight=16
        )
    assert count == 300
    assert sorted(received) == sorted(f"doc-{n}" for n in range(300))
    assert most <= 17  # the one that is being made, beside those under way


def test_publishing_many_without_receipts_returns_when_all_is_written(settings):
    with Client(settings) as client:
        assert client.publish_many((f"doc-{n}", {"title": "x"}) for n in range(50)) == 50
        ends = [client.publish(f"doc-{n}", {"title": "y"}).offset for n in range(50)]
    assert max(ends) >= 50 // settings.partitions


def test_a_click_is_keyed_by_its_query(settings):
    with Client(settings) as client:
        first = client.click("query-1", "boot-1")
        second = client.click("query-1", "boot-2", action="hide")
        with pytest.raises(DataError, match="save"):
            client.click("query-1", "boot-1", action="stare")
    assert (second.partition, second.offset) == (first.partition, first.offset + 1)


def test_a_document_against_the_schema_is_refused_before_it_is_sent(settings):
    with Client(settings) as client:
        for body, code in [({"title": 3}, "schema"), ({"video": "x"}, "unsupported_modality")]:
            with pytest.raises(DataError) as refused:
                client.publish("boot-1", body)
            assert refused.value.code == code
        with pytest.raises(DataError) as refused:
            client.publish("", {"title": "x"})
        assert refused.value.code == "bad_key"
        assert client.publish("boot-1", {"title": "x"}).offset == 0


def test_topics_that_are_missing_are_an_error_that_says_what_to_do(broker):
    settings = load_settings(brokers=broker.bootstrap, prefix=f"none-{uuid.uuid4().hex[:8]}.")
    with Client(settings) as client, pytest.raises(BrokerError, match="trieflow topics create"):
        client.search("boots")
