"""The topics: names, partition counts, cleanup policies; created, shown and checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streams.clients import client_config
from streams.errors import BrokerError, TopicMismatchError
from streams.settings import MIB, SEGMENT_SHARE, Settings

DLQ = ".dlq"
DEAD_LETTER_LIMIT = 5 * MIB
DOCUMENT_LIMIT = 4 * MIB + 64 * 1024
_WAIT_S = 15.0


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it must be. `config` holds the broker's own names for its settings."""

    name: str
    partitions: int
    compacted: bool
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def cleanup_policy(self) -> str:
        return "compact" if self.compacted else "delete"


@dataclass(frozen=True)
class TopicState:
    """A topic as it is: `problem` says what is wrong and what to do, or is None."""

    spec: TopicSpec
    partitions: int | None
    problem: str | None


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """All topics of the system, with full names."""
    keep = settings.retention
    p = settings.partitions
    specs = [
        _compacted("documents", p, settings, limit=DOCUMENT_LIMIT),
        _timed("receipts", p, keep.receipts_h),
        _compacted("assignments", p, settings, limit=DEAD_LETTER_LIMIT),
        _compacted("codebooks", 1, settings),
        _compacted("models", 1, settings),
        _compacted("click-memory", 1, settings),
        _compacted("profiles", 1, settings),
        _timed("moves", p, 24),
        _timed("queries", p, keep.queries_h),
        _timed("results", p, keep.queries_h),
        _timed("impressions", p, keep.impressions_h),
        _timed("feedback", p, keep.impressions_h),
        _timed("training", 1, keep.training_h),
        _compacted("user-salts", 1, settings),
        _timed("forget", p, keep.forget_h),
        _timed("forgotten", p, keep.forget_h),
        _timed("bad-cases", p, keep.bad_cases_h),
    ]
    specs += [
        _timed(name + DLQ, 1, keep.dead_letters_h, limit=DEAD_LETTER_LIMIT)
        for name in ("documents", "moves", "queries", "impressions", "feedback", "forget")
    ]
    return [TopicSpec(settings.topic(s.name), s.partitions, s.compacted, s.config) for s in specs]


def _compacted(name: str, partitions: int, settings: Settings, *, limit: int = MIB) -> TopicSpec:
    return TopicSpec(
        name,
        partitions,
        True,
        {
            "delete.retention.ms": _milliseconds(settings.retention.tombstones_h),
            "max.compaction.lag.ms": _milliseconds(settings.retention.compaction_h),
            "max.message.bytes": str(limit),
        },
    )


def _timed(name: str, partitions: int, hours: float, *, limit: int = 4 * MIB) -> TopicSpec:
    return TopicSpec(
        name,
        partitions,
        False,
        {
            "retention.ms": _milliseconds(hours),
            "segment.ms": _milliseconds(hours * SEGMENT_SHARE),
            "max.message.bytes": str(limit),
        },
    )


def _milliseconds(hours: float) -> str:
    return str(max(1, int(hours * 3_600_000)))


def cluster_id(settings: Settings) -> str:
    """The id of the cluster: a shard of another cluster's log must not be used with this one."""
    try:
        return str(AdminClient(client_config(settings)).list_topics(timeout=_WAIT_S).cluster_id)
    except KafkaException as error:
        raise BrokerError(
            f"no answer from Kafka at {settings.brokers}: {error}. Run `trieflow doctor`."
        ) from error


def check_topics(settings: Settings) -> list[TopicState]:
    """Compare what is with what must be. Raises BrokerError when the cluster does not answer."""
    admin = AdminClient(client_config(settings))
    try:
        existing = admin.list_topics(timeout=_WAIT_S).topics
    except KafkaException as error:
        raise BrokerError(
            f"no answer from Kafka at {settings.brokers}: {error}. Run `trieflow doctor`."
        ) from error
    specs = topic_specs(settings)
    policies = _cleanup_policies(admin, [s.name for s in specs if s.name in existing])
    states = []
    for spec in specs:
        metadata = existing.get(spec.name)
        count = None if metadata is None else len(metadata.partitions)
        states.append(TopicState(spec, count, _problem(spec, count, policies.get(spec.name))))
    return states


def _problem(spec: TopicSpec, partitions: int | None, policy: str | None) -> str | None:
    if partitions is None:
        return f"{spec.name} is missing: create it by `trieflow topics create`"
    if partitions != spec.partitions:
        return (
            f"{spec.name} has {partitions} partitions, the settings say {spec.partitions}: set "
            f"TRIEFLOW_PARTITIONS to what the topics have, or use another prefix (the partitions of a keyed "
            f"topic cannot be changed in place)"
        )
    if policy is not None and spec.cleanup_policy not in policy.split(","):
        return (
            f"{spec.name} has cleanup.policy={policy}, it must be {spec.cleanup_policy}: "
            f"kafka-configs --alter --topic {spec.name} --add-config cleanup.policy={spec.cleanup_policy}"
        )
    if policy is not None and policy != spec.cleanup_policy:
        return f"{spec.name} has cleanup.policy={policy}, it must be {spec.cleanup_policy} alone"
    return None


def _cleanup_policies(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = admin.describe_configs(resources, request_timeout=_WAIT_S)
    return {resource.name: answer.result()["cleanup.policy"].value for resource, answer in answers.items()}


def create_topics(
    settings: Settings, *, on_created: Callable[[str], None] = lambda name: None
) -> list[TopicState]:
    """Create what is missing, then check all.

    Safe to run twice and from several processes. Raises TopicMismatchError with every problem, BrokerError.
    """
    admin = AdminClient(client_config(settings))
    missing = [state.spec for state in check_topics(settings) if state.partitions is None]
    new = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=settings.kafka.replication_factor,
            config={"cleanup.policy": spec.cleanup_policy, **spec.config},
        )
        for spec in missing
    ]
    for name, future in (admin.create_topics(new, request_timeout=_WAIT_S) if new else {}).items():
        try:
            future.result()
            on_created(name)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise BrokerError(f"cannot create {name}: {error}") from error
    return _settled(settings)


def _settled(settings: Settings) -> list[TopicState]:
    """Check until the metadata of new topics has spread (a moment), then raise what is still wrong."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        states = check_topics(settings)
        if not any(s.partitions is None for s in states) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    problems = [s.problem for s in states if s.problem]
    if problems:
        raise TopicMismatchError("\n".join(problems))
    return states
