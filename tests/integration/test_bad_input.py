"""The table of bad input, played once through the real broker, the real indexer and the real searcher.

The fixtures play all rows, one after the other; the tests look at what came of each. Two systems run side by
side: one with the default policy, one that may fetch from private addresses (our web site is on loopback).
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from PIL import Image

from streams.broker import EmbeddedBroker
from streams.dead_letters import ATTEMPTS, ERROR_HEADER_PREFIX, STAGE, VERBATIM_LIMIT
from streams.partitioner import partition_of
from streams.records import Record
from tests.integration.bad_input_table import (
    DOCUMENTS,
    FETCHED,
    NEW_KEY,
    QUERIES,
    Case,
    Thumbnail,
    every_name,
)
from tests.integration.web_site import web_site
from tests.integration.world import World, Written, body, running_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NARROW = "results.narrow"
"""A reply topic that takes only small messages."""


@dataclass
class Played:
    """What came of one row: the record as sent, the receipt or result, and the good event after it."""

    written: Written
    sent: tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
    answer: dict[str, Any] | None = None
    answer_headers: dict[str, bytes] = field(default_factory=dict)
    good: dict[str, Any] = field(default_factory=dict)
    thumbnail: Path | None = None
    dead_letters: list[Record] = field(default_factory=list)


Play = Callable[[World, Case], Played]


def play_all(world: World, cases: list[Case], play: Play, topic: str) -> dict[str, Played]:
    """Play the rows; the last, bad event of each partition makes sure that every dead letter was read."""
    played: dict[str, Played] = {}
    name = f"{topic}.dlq"
    for case in cases:
        try:
            played[case.name] = play(world, case)
        except Exception as error:
            error.add_note(f"in the row: {case.name}")
            raise
    for partition in range(world.settings.partitions):
        last = world.write(topic, key=world.key_in(partition, "last"), value=b"{", partition=partition)
        world.wait_for(partial(find_dead_letter, world, name, last))
    for record in world.seen(name):
        for each in played.values():
            if came_from(record, each.written):
                each.dead_letters.append(record)
    return played


def find_dead_letter(world: World, name: str, written: Written) -> Record | None:
    return next((record for record in world.seen(name) if came_from(record, written)), None)


def came_from(record: Record, written: Written) -> bool:
    headers = dict(record.headers)
    source = (headers[ERROR_HEADER_PREFIX + "partition"], headers[ERROR_HEADER_PREFIX + "offset"])
    return source == (str(written.partition).encode(), str(written.offset).encode())


def play_document(world: World, case: Case, *, site: str = "") -> Played:
    key = key_of(world, case)
    partition = partition_of(key or b"", world.settings.partitions)
    if case.wrong_partition:
        partition = (partition + 1) % world.settings.partitions
    for value in case.before:
        earlier = world.receipt_of(world.write("documents", key=key, value=value))
        assert body(earlier)["status"] in ("indexed", "deleted")
    value = case.value(site) if callable(case.value) else case.value
    headers = [("correlation-id", uuid.uuid4().hex.encode()), *headers_of(world, case)]
    place = None if key is None else partition
    written = world.write("documents", key=key, value=value, headers=headers, partition=place)
    good_key = world.key_in(partition, "good")
    good = world.write("documents", key=good_key, value=b'{"title": "a good one"}')
    played = Played(written, (key, value, headers))
    if written.refusal is None:
        receipt = world.receipt_of(written)
        played.answer, played.answer_headers = body(receipt), dict(receipt.headers)
    played.good = body(world.receipt_of(good))
    assert is_found(world, good_key.decode(), played.good)
    if played.answer and played.answer["status"] == "indexed" and case.outcome.thumbnail:
        played.thumbnail = thumbnail_of(world, played.answer)
    return played


def play_query(world: World, case: Case) -> Played:
    key = key_of(world, case)
    correlation_id = uuid.uuid4().hex
    headers = [("correlation-id", correlation_id.encode()), *headers_of(world, case)]
    partition = 0 if key is None else partition_of(key, world.settings.partitions)
    assert not callable(case.value)
    written = world.write("queries", key=key, value=case.value, headers=headers, partition=partition)
    good_key = world.key_in(partition, "good-query")
    world.write("queries", key=good_key, value=b'{"text": "first"}', headers=[("correlation-id", good_key)])
    record = world.answer_to(correlation_id)
    good = body(world.answer_to(good_key.decode()))
    return Played(written, (key, case.value, headers), body(record), dict(record.headers), good)


def key_of(world: World, case: Case) -> bytes | None:
    return f"row-{uuid.uuid4().hex}".encode() if case.key == NEW_KEY else case.key


def headers_of(world: World, case: Case) -> list[tuple[str, bytes | None]]:
    return list(case.headers(world.settings.prefix) if callable(case.headers) else case.headers)


def is_found(world: World, document_id: str, receipt: Mapping[str, Any]) -> bool:
    answer = world.search(
        {"parts": [{"text": "a good one"}], "top_k": 1_000, "read_after": receipt["read_after"]}
    )
    return document_id in [hit["document_id"] for hit in answer["hits"]]


def thumbnail_of(world: World, receipt: Mapping[str, Any]) -> Path | None:
    """Where the thumbnail of an indexed document lies, as a hit says."""
    query = {"parts": [{"text": "red"}], "top_k": 1_000, "read_after": receipt["read_after"]}
    for hit in world.search(query)["hits"]:
        if hit["document_id"] == receipt["document_id"]:
            return Path(urlsplit(hit["image"]).path)
    return None


@pytest.fixture(scope="module")
def default_world(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(broker.bootstrap, tmp_path_factory.mktemp("default")) as world:
        topic = world.settings.topic(NARROW)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_topics([NewTopic(topic, 1, config={"max.message.bytes": "1000"})])[topic].result(20)
        yield world


@pytest.fixture(scope="module")
def documents(default_world: World) -> dict[str, Played]:
    return play_all(default_world, DOCUMENTS, play_document, "documents")


@pytest.fixture(scope="module")
def queries(default_world: World, documents: dict[str, Played]) -> dict[str, Played]:
    # After the documents, so that there is something to find.
    return play_all(default_world, QUERIES, play_query, "queries")


@pytest.fixture(scope="module")
def fetched(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    environment = {
        "TRIEFLOW_CONTENT__ALLOW_HTTP": "true",
        "TRIEFLOW_CONTENT__ALLOW_PRIVATE_ADDRESSES": "true",
        "TRIEFLOW_CONTENT__FETCH_TIMEOUT_S": "3.0",
    }
    folder = tmp_path_factory.mktemp("closed")
    with web_site() as site, running_world(broker.bootstrap, folder, **environment) as world:
        yield play_all(world, FETCHED, lambda w, case: play_document(w, case, site=site), "documents")


def test_the_table_has_sixty_kinds_of_bad_input_and_each_once():
    names = every_name()
    assert len(names) == len(set(names))
    bad = [c for c in (*DOCUMENTS, *FETCHED, *QUERIES) if c.outcome.code is not None]
    assert len(bad) >= 60


@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case.name)
def test_a_document_ends_as_the_table_says(case: Case, documents: dict[str, Played]):
    check_document(case, documents[case.name], "documents")


@pytest.mark.parametrize("case", FETCHED, ids=lambda case: case.name)
def test_fetched_content_ends_as_the_table_says(case: Case, fetched: dict[str, Played]):
    check_document(case, fetched[case.name], "documents")


@pytest.mark.parametrize("case", QUERIES, ids=lambda case: case.name)
def test_a_query_ends_as_the_table_says(case: Case, queries: dict[str, Played]):
    played = queries[case.name]
    answer = played.answer
    assert answer is not None
    error = answer.get("error", {})
    assert (error.get("code"), error.get("field")) == (case.outcome.code, case.outcome.field), error
    assert bool({"hits", "branches"} & answer.keys()) == (case.outcome.status == "answered")
    if case.outcome.code != "bad_key":
        assert answer["query_id"] == (played.sent[0] or b"").decode()
    assert played.good["hits"], "the good query after it found nothing"
    check_dead_letters(case, played, "queries")


def test_a_worker_lived_through_the_whole_table(documents, queries, fetched, default_world: World):
    default_world.check_alive()


def check_document(case: Case, played: Played, topic: str) -> None:
    expected = case.outcome
    if expected.status == "refused":
        assert played.written.refusal == expected.code
        assert played.good["status"] == "indexed"
        return
    receipt = played.answer
    assert receipt is not None
    error = receipt.get("error", {})
    found = (receipt["status"], error.get("code"), error.get("field"))
    assert found == (expected.status, expected.code, expected.field), error
    assert len(error.get("message", "")) < 1_000
    assert played.answer_headers["correlation-id"] == dict(played.sent[2])["correlation-id"]
    assert played.good["status"] == "indexed"
    check_dead_letters(case, played, topic)
    if expected.thumbnail is not None:
        check_thumbnail(played.thumbnail, expected.thumbnail)


def check_dead_letters(case: Case, played: Played, topic: str) -> None:
    """One dead letter where the table says so: the bytes as they came, their address, the cause."""
    assert len(played.dead_letters) == (1 if case.outcome.dead_letter else 0)
    for letter in played.dead_letters:
        key, value, sent_headers = played.sent
        headers = dict(letter.headers)
        if len(key or b"") + len(value or b"") <= VERBATIM_LIMIT // 2:
            assert letter.key == key
            assert letter.value == value
            kept = {(name, content or None) for name, content in letter.headers} | set(letter.headers)
            assert {header for header in sent_headers if header[0] != ATTEMPTS} <= kept
        assert headers[ERROR_HEADER_PREFIX + "topic"].endswith(topic.encode())
        assert headers[ERROR_HEADER_PREFIX + "exception"] == (case.outcome.code or "").encode()
        assert headers[ERROR_HEADER_PREFIX + "message"]
        assert headers[STAGE]
        assert headers[ATTEMPTS] == b"1"


def check_thumbnail(path: Path | None, expected: Thumbnail) -> None:
    assert path is not None
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.size == expected.size
        pixel = picture.convert("RGB").getpixel(expected.place)
    assert all(abs(a - b) < 40 for a, b in zip(pixel, expected.colour, strict=True)), pixel
