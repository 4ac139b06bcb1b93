"""The settings file of the embedded broker: one KRaft node on loopback, quick to start, small."""

from __future__ import annotations

HOST = "127.0.0.1"

#: The largest batch the broker takes: a value of 5 MiB, and room for its key and headers.
MAX_MESSAGE_BYTES = 5 * 1024 * 1024 + 256 * 1024

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

# After a crash the controller waits this long before it lets the same node in again (9 s by default), and
# there is no other node. Both halves live in one JVM: a pause hits both and rarely looks like a death.
_QUICK_RETURN = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}

_RULES = {
    # Topics are created and checked by us; a typing error must not make one.
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
}


def server_properties(*, log_dir: str, port: int, controller_port: int) -> str:
    """Return the text of `server.properties` for a node that keeps its log in `log_dir`.

    `log_dir` is a plain name below the folder that the broker runs in, so that no path has to be quoted for
    Java (and a data folder may be moved). The controller's port may change from start to start.
    """
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
        "log.dirs": log_dir,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
