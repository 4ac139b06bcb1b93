"""Kafka clients of librdkafka, configured in one place: security, partitioner, idempotence, isolation."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer

from streams.errors import BrokerError
from streams.partitioner import PARTITIONER
from streams.settings import MIB, Settings

MESSAGE_LIMIT = 5 * MIB + 256 * 1024
FOLLOWING: Mapping[str, Any] = {"fetch.wait.max.ms": 100}
"""For a `reader` that stays: records come as soon as they are there, the end of a quiet partition is told later,
and brokers are asked a quarter as often."""


def client_config(settings: Settings) -> dict[str, Any]:
    """The settings every librdkafka client shares. Raises BrokerError when no broker is named."""
    if not settings.brokers:
        raise BrokerError("no broker: run `trieflow up`, or set TRIEFLOW_BROKERS to host:port")
    config: dict[str, Any] = {
        "bootstrap.servers": settings.brokers,
        "log_level": 4,
        # The socket's own waiting is the largest part of a round trip otherwise.
        "socket.nagle.disable": True,
        "broker.address.family": "v4" if settings.brokers.startswith("127.") else "any",
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 1_000,
    }
    return config | _security(settings)


def _security(settings: Settings) -> dict[str, Any]:
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    config: dict[str, Any] = {"security.protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = kafka.sasl_mechanism
        config["sasl.username"] = kafka.sasl_username or ""
        config["sasl.password"] = kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""
    locations = {
        "ssl.ca.location": kafka.ssl_ca_location,
        "ssl.certificate.location": kafka.ssl_certificate_location,
        "ssl.key.location": kafka.ssl_key_location,
    }
    return config | {name: str(path) for name, path in locations.items() if path is not None}


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The same security for aiokafka, which takes an SSL context; None for plain connections."""
    kafka = settings.kafka
    if "SSL" not in kafka.security_protocol:
        return None
    context = ssl.create_default_context(cafile=str(kafka.ssl_ca_location) if kafka.ssl_ca_location else None)
    if kafka.ssl_certificate_location:
        context.load_cert_chain(kafka.ssl_certificate_location, kafka.ssl_key_location)
    return context


def producer(settings: Settings, **overrides: Any) -> Producer:
    """An idempotent producer with our partitioner."""
    config = client_config(settings) | {
        "partitioner": PARTITIONER,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        "compression.type": "lz4",
        "message.max.bytes": MESSAGE_LIMIT,
        "delivery.timeout.ms": 20_000,
    }
    return Producer(config | overrides)


def transactional_producer(settings: Settings, *, transactional_id: str, timeout_s: float) -> Producer:
    """A producer whose transactions fence every earlier producer of the same id (KIP-98)."""
    milliseconds = int(timeout_s * 1_000)
    return producer(
        settings,
        **{
            "transactional.id": transactional_id,
            "transaction.timeout.ms": milliseconds,
            "delivery.timeout.ms": milliseconds,
        },
    )


def reader(settings: Settings, **overrides: Any) -> Consumer:
    """A consumer without a group: partitions are assigned by hand, only committed records are read."""
    config = client_config(settings) | {
        "group.id": f"{settings.prefix}reader",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 25,
        "fetch.error.backoff.ms": 50,
        "fetch.message.max.bytes": MESSAGE_LIMIT,
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 32 * 1024,
    }
    return Consumer(config | overrides)
