"""What a cluster says of itself: end offsets, newest records, lag of groups. One question for many partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from streams.clients import client_config
from streams.settings import Settings
from trieflow.offsets import ASK_TIMEOUT_S, silent_broker
from trieflow.replies import CLIENT_CONFIG

_NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
Place = tuple[str, int]
"""Full topic name and partition."""


@dataclass(frozen=True)
class Newest:
    """The youngest record of a partition: its offset and time (ms since the epoch); -1 when it is empty."""

    offset: int
    timestamp_ms: int


class Cluster:
    """Asks one cluster. Every method raises BrokerError when Kafka does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = AdminClient(client_config(settings) | CLIENT_CONFIG)

    def partitions(self) -> dict[str, int]:
        """Partition counts by topic, of all topics there are."""
        try:
            found = self._admin.list_topics(timeout=ASK_TIMEOUT_S).topics
        except KafkaException as error:
            raise silent_broker(self._settings, error) from error
        return {name: len(topic.partitions) for name, topic in found.items()}

    def broker_count(self) -> int:
        try:
            return len(self._admin.list_topics(timeout=ASK_TIMEOUT_S).brokers)
        except KafkaException as error:
            raise silent_broker(self._settings, error) from error

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The next offset to be written, by partition."""
        return {place: newest.offset for place, newest in self._offsets(places, OffsetSpec.latest()).items()}

    def newest(self, places: Iterable[Place]) -> dict[Place, Newest]:
        """The youngest record, by partition."""
        return self._offsets(places, OffsetSpec.max_timestamp())

    def topic_settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings that topics have at the brokers, by full name and by the brokers' own names."""
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        try:
            answers = self._admin.describe_configs(resources, request_timeout=ASK_TIMEOUT_S)
            return {
                resource.name: {name: entry.value for name, entry in answer.result().items()}
                for resource, answer in answers.items()
            }
        except KafkaException as error:
            raise silent_broker(self._settings, error) from error

    def committed(self, group: str) -> Mapping[Place, int]:
        """The next offset that a consumer group wants, by partition; empty when there is no such group."""
        asked = ConsumerGroupTopicPartitions(group)
        try:
            answer = self._admin.list_consumer_group_offsets([asked], request_timeout=ASK_TIMEOUT_S)[group]
            found = answer.result().topic_partitions
        except KafkaException as error:
            raise silent_broker(self._settings, error) from error
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, Newest]:
        asked = {TopicPartition(topic, partition): spec for topic, partition in places}
        if not asked:
            return {}
        try:
            return self._asked_again(asked)
        except KafkaException as error:
            raise silent_broker(self._settings, error) from error

    @retry(
        retry=retry_if_exception(
            lambda error: isinstance(error, KafkaException) and error.args[0].code() in _NO_LEADER_YET
        ),
        stop=stop_after_delay(ASK_TIMEOUT_S),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    def _asked_again(self, asked: Mapping[TopicPartition, OffsetSpec]) -> dict[Place, Newest]:
        """While a partition has just been made or moves, its leader may not be known yet."""
        answers = self._admin.list_offsets(dict(asked), request_timeout=ASK_TIMEOUT_S)
        results = {place: future.result() for place, future in answers.items()}
        return {(p.topic, p.partition): Newest(r.offset, r.timestamp) for p, r in results.items()}
