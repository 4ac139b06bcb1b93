"""A client that knows nothing but the folder `docs/schemas`: no module of ours, no topic name, no field.

Every message is checked against the contract before it is sent and when it comes in: body, headers and key.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

Json = Any
WAIT_S = 60.0


@dataclass(frozen=True)
class Message:
    """A record: `kind` is the name of the message in the contract, `body` its JSON (bytes of a dead letter)."""

    channel: str
    kind: str
    key: str
    body: Json
    headers: Mapping[str, str]
    partition: int
    offset: int


class Contract:
    """The AsyncAPI document and the schemas beside it."""

    def __init__(self, folder: Path) -> None:
        self.document: Json = json.loads((folder / "asyncapi.json").read_text())
        schemas = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        named = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas if "$id" in schema]
        self._registry: Registry[Json] = Registry().with_resources(named)
        self._folder = folder

    def topic(self, channel: str) -> str:
        address: str = self.document["channels"][channel]["address"]
        return address

    def sent_by_the_application(self) -> list[str]:
        """The channels to read."""
        operations = self.document["operations"].values()
        return sorted({_last(o["channel"]["$ref"]) for o in operations if o["action"] == "send"})

    def check(self, channel: str, kind: str, *, body: Json, headers: Mapping[str, str]) -> None:
        """Raise jsonschema's ValidationError for a message that the contract does not have."""
        assert kind in self.document["channels"][channel]["messages"]
        message = self.document["components"]["messages"][kind]
        Draft202012Validator(message["headers"]).validate(dict(headers))
        payload = message["payload"]
        if "schema" in payload:
            payload = json.loads((self._folder / payload["schema"]["$ref"]).read_text())
        Draft202012Validator(payload, registry=self._registry).validate(body)

    def kind_of(self, channel: str, *, body: Json, headers: Mapping[str, str]) -> str:
        """The one message of the channel that this can be."""
        kinds = self.document["channels"][channel]["messages"]
        fitting = [kind for kind in kinds if self._fits(channel, kind, body, headers)]
        assert len(fitting) == 1, f"{fitting} of {list(kinds)} fit on {channel}: {body} {dict(headers)}"
        return fitting[0]

    def _fits(self, channel: str, kind: str, body: Json, headers: Mapping[str, str]) -> bool:
        try:
            self.check(channel, kind, body=body, headers=headers)
        except Exception as error:
            if type(error).__name__ != "ValidationError":
                raise
            return False
        return True


class PlainClient:
    """Sends, and collects all that the application says, in a thread."""

    def __init__(self, brokers: str, folder: Path, *, more_topics: Mapping[str, str] | None = None) -> None:
        """`more_topics`: topics of the asker's own and the channel whose messages they take."""
        self.contract = Contract(folder)
        self._brokers = brokers
        self._channels = {self.contract.topic(name): name for name in self.contract.sent_by_the_application()}
        self._channels |= more_topics or {}
        self._seen: list[Message] = []
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="plain-client")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def send(
        self,
        channel: str,
        kind: str,
        *,
        key: str,
        body: Json,
        headers: Mapping[str, str] | None = None,
        codec: str = "none",
    ) -> tuple[int, int]:
        """Write a message; returns its partition and offset."""
        self.contract.check(channel, kind, body=body, headers=headers or {})
        places: list[tuple[int, int]] = []

        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            places.append((message.partition(), message.offset()))

        settings = {
            "bootstrap.servers": self._brokers,
            "partitioner": "murmur2_random",
            "compression.type": codec,
        }
        producer = Producer(settings)
        value = None if body is None else json.dumps(body).encode()
        topic = self.contract.topic(channel)
        producer.produce(topic, value, key, headers=dict(headers or {}), on_delivery=delivered)
        assert producer.flush(30) == 0
        return places[0]

    def wait(self, channel: str, fits: Callable[[Message], bool], *, timeout: float = WAIT_S) -> Message:
        """The first message of a channel that fits."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = next((m for m in self._seen if m.channel == channel and fits(m)), None)
                if found is not None:
                    return found
                if self._failure is not None:
                    raise self._failure
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing of the kind came on {channel} within {timeout:g} s")
                self._changed.wait(0.2)

    def seen(self, channel: str) -> list[Message]:
        """All that came on a channel so far."""
        with self._changed:
            return [message for message in self._seen if message.channel == channel]

    def _follow(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._brokers,
                "group.id": "plain",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        try:
            topics = consumer.list_topics(timeout=30).topics
            places = [TopicPartition(t, p, 0) for t in self._channels for p in topics[t].partitions]
            consumer.assign(places)
            while not self._stopping.is_set():
                record = consumer.poll(0.2)
                if record is not None:
                    assert record.error() is None, record.error()
                    self._take(record)
        except BaseException as error:
            self._failure = error
        finally:
            consumer.close()

    def _take(self, record: Any) -> None:
        channel = self._channels[record.topic()]
        headers = {name: (value or b"").decode() for name, value in record.headers() or []}
        value = record.value()
        is_json = headers.get("content-type", "").endswith("json") and "DeadLetters" not in channel
        body = json.loads(value) if is_json and value is not None else value
        kind = self.contract.kind_of(channel, body=body, headers=headers)
        place = (record.partition(), record.offset())
        message = Message(channel, kind, (record.key() or b"").decode(), body, headers, *place)
        with self._changed:
            self._seen.append(message)
            self._changed.notify_all()


def _last(pointer: str) -> str:
    return pointer.rsplit("/", 1)[1]
