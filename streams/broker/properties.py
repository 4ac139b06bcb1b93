"""The settings file of the embedded broker: one KRaft node on loopback, quick to start, small."""

from __future__ import annotations

from pathlib import Path

HOST = "127.0.0.1"

#: The largest message the broker takes: 5 MiB of payload, and room for headers and the batch around it.
MAX_PAYLOAD_BYTES = 5 * 1024 * 1024
MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES + 64 * 1024

_ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

# One partition for the internal topics and no wait for more members: a group is usable at once.
_QUICK_START = {
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
}

# A laptop with two cores and 512 MB of heap: the cleaner alone would take 128 MB of it.
_SMALL = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
    "log.cleaner.backoff.ms": "1000",
}

# After a crash the controller waits this long before it lets the same node in again (9 s by default), and there
# is no other node to wait for. Both halves live in one JVM, so a pause hits both and rarely looks like a death.
_QUICK_RETURN = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}

_RULES = {
    # Topics are created and checked by us; a typing error must not make one.
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
}


def server_properties(*, log_dir: Path, port: int, controller_port: int) -> str:
    """Return the text of `server.properties` for a node that keeps its log in `log_dir`."""
    listener = f"PLAINTEXT://{HOST}:{port}"
    settings = {
        **_ONE_NODE,
        **_QUICK_START,
        **_QUICK_RETURN,
        **_SMALL,
        **_RULES,
        "listeners": f"{listener},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": listener,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": _escape(str(log_dir)),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _escape(value: str) -> str:
    """Escape a value for Java's properties format: ISO 8859-1, where a backslash starts an escape."""
    plain = value.replace("\\", "\\\\")
    units = plain.encode("utf-16-be")
    pairs = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}" for unit in pairs)
