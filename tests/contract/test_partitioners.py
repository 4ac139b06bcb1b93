"""All clients put a key into the same partition: ours, librdkafka, aiokafka, and Java's own."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.broker import EmbeddedBroker
from streams.broker.jars import kafka_jars
from streams.clients import producer as our_producer
from streams.partitioner import PARTITIONER, partition_of
from streams.settings import load_settings

PARTITIONS = 7
"""No power of two, so that a wrong sign or mask shows."""

Send = Callable[[str, str, Sequence[bytes]], list[int]]


def _keys() -> list[bytes]:
    chance = random.Random(20260131)
    ascii_letters = [bytes(chance.choices(range(33, 127), k=chance.randint(1, 40))) for _ in range(400)]
    alphabets = "äßéñøçğżאבגدذرकखग日本語汉字한국어🥾👢🌍"
    words = ["".join(chance.choices(alphabets, k=chance.randint(1, 20))).encode() for _ in range(300)]
    binary = [chance.randbytes(chance.randint(1, 32)) for _ in range(190)]
    long = [chance.randbytes(chance.randint(1_000, 4_096)) for _ in range(100)]
    lengths = [
        b"\xff" * n for n in range(10)
    ]  # the empty key, and all that can be left of a word of four bytes
    return ascii_letters + words + binary + long + lengths


KEYS = _keys()


def librdkafka(brokers: str, topic: str, keys: Sequence[bytes]) -> list[int]:
    return _librdkafka(Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"}), topic, keys)


def as_configured_here(brokers: str, topic: str, keys: Sequence[bytes]) -> list[int]:
    return _librdkafka(our_producer(load_settings(brokers=brokers)), topic, keys)


def librdkafka_by_default(brokers: str, topic: str, keys: Sequence[bytes]) -> list[int]:
    return _librdkafka(Producer({"bootstrap.servers": brokers}), topic, keys)


def _librdkafka(producer: Producer, topic: str, keys: Sequence[bytes]) -> list[int]:
    places = [-1] * len(keys)

    def delivered(place: int, error: Any, message: Any) -> None:
        assert error is None
        places[place] = message.partition()

    for place, key in enumerate(keys):
        producer.produce(topic, key=key, on_delivery=lambda *said, place=place: delivered(place, *said))
    assert producer.flush(30) == 0
    return places


def aiokafka(brokers: str, topic: str, keys: Sequence[bytes]) -> list[int]:
    async def send() -> list[int]:
        async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
            return [(await each).partition for each in [await producer.send(topic, key=key) for key in keys]]

    return asyncio.run(send())


def java(brokers: str, topic: str, keys: Sequence[bytes]) -> list[int]:
    request = {
        "class_path": [str(jar) for jar in kafka_jars()],
        "brokers": brokers,
        "topic": topic,
        "keys": [key.hex() for key in keys],
    }
    program = Path(__file__).with_name("java_producer.py")
    done = subprocess.run(
        [sys.executable, str(program)], input=json.dumps(request), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    answer: list[int] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def topic(broker: EmbeddedBroker) -> str:
    name = f"partitioners-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, PARTITIONS)])[name].result(20)
    return name


# From Kafka's own tests of `Utils.murmur2`; the sign bit is dropped.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_murmur2_as_java_has_it(key: bytes, hashed: int):
    assert partition_of(key, 2**31) == hashed & 0x7FFFFFFF


def test_the_keys_are_a_thousand_and_reach_every_partition():
    assert len(KEYS) == 1_000
    assert {partition_of(key, PARTITIONS) for key in KEYS} == set(range(PARTITIONS))
    assert PARTITIONER == "murmur2_random"


@pytest.mark.integration
@pytest.mark.parametrize("send", [librdkafka, as_configured_here, aiokafka, java])
def test_a_client_puts_a_thousand_keys_where_we_expect_them(broker: EmbeddedBroker, topic: str, send: Send):
    expected = [partition_of(key, PARTITIONS) for key in KEYS]
    assert send(broker.bootstrap, topic, KEYS) == expected


@pytest.mark.integration
def test_librdkafka_without_the_setting_puts_most_keys_elsewhere(broker: EmbeddedBroker, topic: str):
    places = librdkafka_by_default(broker.bootstrap, topic, KEYS)
    agreed = sum(place == partition_of(key, PARTITIONS) for place, key in zip(places, KEYS, strict=True))
    assert agreed < len(KEYS) / 2
