"""Questions to Kafka about topics: how many partitions, where a partition begins and ends."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams import records
from streams.errors import BrokerError
from streams.settings import Settings

ASK_TIMEOUT_S = 10.0
"""For questions that a healthy cluster answers at once: metadata, end offsets, confirmations."""


def partition_count(consumer: Consumer, settings: Settings, topic: str) -> int:
    """How many partitions a topic has. Raises BrokerError when it is missing or Kafka is silent."""
    try:
        metadata = consumer.list_topics(topic, timeout=ASK_TIMEOUT_S).topics.get(topic)
    except KafkaException as error:
        raise silent_broker(settings, error) from error
    if metadata is None or metadata.error is not None or not metadata.partitions:
        raise BrokerError(
            f"topic {topic} is missing at {settings.brokers}: start the system by `trieflow up`, "
            f"or create the topics by `trieflow topics create`"
        )
    return len(metadata.partitions)


def first_and_end(consumer: Consumer, settings: Settings, place: TopicPartition) -> tuple[int, int]:
    """The first offset that is kept and the next one to be written. Raises BrokerError."""
    try:
        return records.first_and_end(consumer, place, timeout_s=ASK_TIMEOUT_S)
    except KafkaException as error:
        raise silent_broker(settings, error) from error


def silent_broker(settings: Settings, error: KafkaException) -> BrokerError:
    """The error to raise when Kafka does not answer."""
    return BrokerError(f"no answer from Kafka at {settings.brokers}: {error}. Run `trieflow doctor`")
