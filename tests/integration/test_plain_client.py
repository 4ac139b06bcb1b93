"""A stranger with Kafka's client and `docs/schemas` alone publishes, searches, deletes and reads what is said."""

from __future__ import annotations

import ast
import base64
import io
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from PIL import Image, ImageDraw

from tests.integration import plain_client
from tests.integration.plain_client import Message, PlainClient
from trieflow.running import running_system

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "schemas"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TRIEFLOW_")}


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A system with the default encoder and the default topics."""
    data = tmp_path_factory.mktemp("plain")
    command = [sys.executable, "-m", "trieflow", "--data", str(data)]
    subprocess.run([*command, "up", "--detach"], env=ENVIRONMENT, check=True, timeout=200)
    running = running_system(data)
    assert running is not None
    yield running.brokers
    subprocess.run([*command, "down"], env=ENVIRONMENT, check=True, timeout=60)


@pytest.fixture(scope="module")
def own_topic(brokers: str) -> str:
    name = f"trieflow.results.stranger-{uuid.uuid4().hex[:6]}"
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, 1)])[name].result(20)
    while name not in admin.list_topics(timeout=20).topics:  # the metadata takes a moment to spread
        time.sleep(0.05)
    return name


@pytest.fixture(scope="module")
def client(brokers: str, own_topic: str) -> Iterator[PlainClient]:
    with PlainClient(brokers, CONTRACT, more_topics={own_topic: "replies"}) as client:
        yield client


@pytest.fixture(scope="module")
def shop(client: PlainClient) -> dict[str, Message]:
    """A few documents, in each of the ways there are, and their receipts."""
    published = {
        "boot-1": publish(client, "boot-1", {"title": "Red leather boots", "fields": {"price": 129.5}}),
        "hat-1": publish(client, "hat-1", {"title": "A straw hat for the beach"}, headers=binary()),
        "bike-1": publish_structured(client, "bike-1", {"title": "A blue bicycle"}),
        "star-1": publish(client, "star-1", {"images": [{"bytes": drawing("star")}]}),
        "ring-1": publish(client, "ring-1", {"images": [{"bytes": drawing("ring"), "alt": "a ring"}]}),
    }
    assert {key: receipt.body["status"] for key, receipt in published.items()} == dict.fromkeys(
        published, "indexed"
    )
    return published


def drawing(shape: str) -> str:
    """A picture in base64."""
    picture = Image.new("RGB", (96, 96), "white")
    pen = ImageDraw.Draw(picture)
    if shape == "star":
        pen.polygon([(48, 4), (60, 84), (4, 34), (92, 34), (36, 84)], fill="gold")
    else:
        pen.ellipse((16, 16, 80, 80), outline="navy", width=12)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def binary(event_type: str = "trieflow.document.published.v1", **more: str) -> dict[str, str]:
    """CloudEvents headers, binary mode."""
    return {
        "ce_specversion": "1.0",
        "ce_id": uuid.uuid4().hex,
        "ce_source": "/shop",
        "ce_type": event_type,
        "content-type": "application/json",
        "correlation-id": uuid.uuid4().hex,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        **more,
    }


def structured(event_type: str, data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "/shop", "type": event_type, "data": data}


STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}


def receipt_of(client: PlainClient, place: tuple[int, int]) -> Message:
    return client.wait("receipts", lambda m: _place(m.body["source"]) == place)


def _place(position: dict[str, Any]) -> tuple[int, int]:
    return position["partition"], position["offset"]


def publish(client: PlainClient, key: str, body: Any, **how: Any) -> Message:
    return receipt_of(client, client.send("documents", "document", key=key, body=body, **how))


def publish_structured(client: PlainClient, key: str, data: Any, **how: Any) -> Message:
    event = structured("trieflow.document.published.v1", data)
    place = client.send("documents", "documentCloudEvent", key=key, body=event, headers=STRUCTURED, **how)
    return receipt_of(client, place)


def ask(
    client: PlainClient, query: Any, *, channel: str = "results", codec: str = "none", **headers: str
) -> Message:
    """Ask by a query id of our own; the answer is told by its key."""
    query_id = str(uuid.uuid4())
    deadline = str(int((time.time() + 30) * 1_000))
    headers = {"deadline": deadline, **headers}
    client.send("queries", "query", key=query_id, body=query, headers=headers, codec=codec)
    return client.wait(channel, lambda m: m.key == query_id)


def found(answer: Message) -> list[str]:
    return [hit["document_id"] for hit in answer.body["hits"]]


def test_the_client_imports_nothing_of_ours():
    tree = ast.parse(Path(plain_client.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {"trieflow", "agents", "models", "state", "streams", "tests"}
    assert not {name.split(".")[0] for name in imported} & ours


def test_the_topics_are_as_the_contract_says(brokers: str, client: PlainClient):
    admin = AdminClient({"bootstrap.servers": brokers})
    topics = admin.list_topics(timeout=20).topics
    for channel in client.contract.document["channels"].values():
        if channel["address"] is None:
            continue
        binding = channel["bindings"]["kafka"]
        assert len(topics[channel["address"]].partitions) == binding["partitions"]
        resource = ConfigResource(ResourceType.TOPIC, channel["address"])
        settings = admin.describe_configs([resource])[resource].result(20)
        for name, value in binding["topicConfiguration"].items():
            wanted = ",".join(value) if isinstance(value, list) else str(value)
            assert settings[name].value == wanted, (channel["address"], name)


def test_a_receipt_tells_where_to_read_from_and_repeats_the_correlation(
    client: PlainClient, shop: dict[str, Message]
):
    for key, receipt in shop.items():
        assert receipt.key == receipt.body["document_id"] == key
        logged = client.wait(
            "assignments", lambda m, r=receipt: (m.partition, m.offset) == _place(r.body["read_after"][0])
        )
        assert logged.key == key
        assert receipt.body["semantic_id"] in [each["semantic_id"] for each in logged.body["ids"]]
    assert len(shop["hat-1"].headers["correlation-id"]) == 32
    assert shop["hat-1"].headers["traceparent"].startswith("00-4bf9")
    assert "correlation-id" not in shop["boot-1"].headers


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ({"text": "rote Stiefel"}, "boot-1"),
        ({"parts": [{"text": "something for the head in summer"}], "mode": "dense", "explain": True}, "hat-1"),
        ({"image": {"bytes": drawing("ring")}}, "ring-1"),
        ({"parts": [{"image": {"bytes": drawing("star")}}, {"text": "navy ring", "weight": -0.3}]}, "star-1"),
        ({"text": "boots", "filter": {"price": {"gte": 100}}, "top_k": 1}, "boot-1"),
    ],
    ids=["a text", "another text, explained", "a picture", "a picture less a text", "a filter"],
)  # fmt: skip
def test_a_search_finds_what_was_published(
    client: PlainClient, shop: dict[str, Message], query: Any, first: str
):
    read_after = [position for receipt in shop.values() for position in receipt.body["read_after"]]
    answer = ask(client, {**query, "read_after": read_after})
    assert found(answer)[0] == first
    if query.get("explain"):
        for hit in answer.body["hits"]:
            assert sum(hit["parts"].values()) == pytest.approx(hit["score"], abs=1e-5)


def test_like_a_document_leaves_that_document_out(client: PlainClient, shop: dict[str, Message]):
    answer = ask(client, {"document_id": "boot-1", "read_after": shop["boot-1"].body["read_after"]})
    assert found(answer)
    assert "boot-1" not in found(answer)


def test_an_answer_goes_where_the_asker_says_with_the_correlation(
    client: PlainClient, shop: dict[str, Message], own_topic: str
):
    correlation = uuid.uuid4().hex
    headers = {"reply-to": own_topic, "correlation-id": correlation}
    answer = ask(client, {"text": "bicycle"}, channel="replies", **headers)
    assert answer.headers["correlation-id"] == correlation
    assert not [m for m in client.seen("results") if m.key == answer.key]


def test_a_structured_query_is_answered(client: PlainClient, shop: dict[str, Message]):
    query_id = str(uuid.uuid4())
    event = structured("trieflow.query.asked.v1", {"text": "straw hat", "top_k": 1})
    client.send("queries", "queryCloudEvent", key=query_id, body=event, headers=STRUCTURED)
    assert found(client.wait("results", lambda m: m.key == query_id)) == ["hat-1"]


def test_what_was_shown_is_told_and_a_click_can_be_said(client: PlainClient, shop: dict[str, Message]):
    answer = ask(client, {"text": "boots", "user_id": "visitor-5", "session_id": "s1"})
    shown = client.wait("impressions", lambda m: m.key == answer.key).body
    assert [each["document_id"] for each in shown["shown"]] == found(answer)
    assert not {"visitor-5", "s1"} & {shown["user"], shown["session_id"]}, "both are hashes"
    assert "visitor-5" not in str(shown)
    nobody = ask(client, {"text": "boots", "session_id": "s1"})
    shown = client.wait("impressions", lambda m: m.key == nobody.key).body
    assert (shown.get("user"), shown["session_id"]) == (None, "s1")
    click = {"query_id": answer.key, "document_id": found(answer)[0], "action": "click"}
    client.send("feedback", "feedback", key=answer.key, body=click)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_is_taken_for_documents_and_queries(client: PlainClient, codec: str):
    # Long enough that compression makes it smaller: the client drops it where it does not.
    text = f"compressed by {codec}. " * 200
    receipt = publish(client, f"codec-{codec}", {"title": f"codec {codec}", "text": text}, codec=codec)
    assert receipt.body["status"] == "indexed"
    query = {"text": text[:5_000], "read_after": receipt.body["read_after"], "top_k": 10}
    assert f"codec-{codec}" in found(ask(client, query, codec=codec))


DELETIONS = {
    "a null value": ("documentDeletion", None, {}),
    "a null value and headers": (
        "documentDeletion",
        None,
        binary("trieflow.document.deleted.v1", version="9"),
    ),
    "a structured event without data": (
        "documentCloudEvent",
        structured("trieflow.document.published.v1", None),
        STRUCTURED,
    ),
    "a structured event of deletion": (
        "documentCloudEvent",
        structured("trieflow.document.deleted.v1", None),
        STRUCTURED,
    ),
}


@pytest.mark.parametrize("how", DELETIONS)
def test_a_deleted_document_is_found_no_more(client: PlainClient, how: str):
    key = f"gone-{uuid.uuid4().hex[:8]}"
    publish(client, key, {"title": "A purple umbrella", "tags": [key]})
    kind, body, headers = DELETIONS[how]
    receipt = receipt_of(client, client.send("documents", kind, key=key, body=body, headers=headers))
    assert receipt.body["status"] == "deleted"
    answer = ask(
        client, {"text": "umbrella", "filter": {"tags": key}, "read_after": receipt.body["read_after"]}
    )
    assert found(answer) == []
    place = _place(receipt.body["read_after"][0])
    tombstone = client.wait("assignments", lambda m: (m.partition, m.offset) == place)
    assert tombstone.kind == "assignmentDeletion"


def test_what_fits_the_schema_and_cannot_be_used_is_told_and_kept(client: PlainClient):
    body = {"images": [{"bytes": base64.b64encode(b"no picture").decode()}]}
    place = client.send("documents", "document", key="broken", body=body)
    receipt = receipt_of(client, place)
    assert receipt.body["status"] == "rejected"
    letter = client.wait("documentsDeadLetters", lambda m: m.key == "broken")
    assert letter.headers["__streams.errors.exception"] == receipt.body["error"]["code"]
    assert (
        int(letter.headers["__streams.errors.partition"]),
        int(letter.headers["__streams.errors.offset"]),
    ) == place


def test_a_query_that_comes_too_late_is_told_so(client: PlainClient):
    answer = ask(client, {"text": "boots"}, deadline=str(int(time.time() * 1_000) - 1))
    assert answer.body["error"]["code"] == "expired"
