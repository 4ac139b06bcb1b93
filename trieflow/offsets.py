"""Questions to Kafka about topics: how many partitions, where a partition begins and ends."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.settings import Settings

ASK_TIMEOUT_S = 10.0
"""For questions that a healthy cluster answers at once: metadata, end offsets, confirmations."""

# A topic that was just created, or whose leader just moved: known a moment later.
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
_RETRY_S = 0.05


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
    deadline = time.monotonic() + ASK_TIMEOUT_S
    while True:
        try:
            first, end = consumer.get_watermark_offsets(place, timeout=ASK_TIMEOUT_S, cached=False)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise silent_broker(settings, error) from error
            time.sleep(_RETRY_S)
        else:
            return int(first), int(end)


def silent_broker(settings: Settings, error: KafkaException) -> BrokerError:
    """The error to raise when Kafka does not answer."""
    return BrokerError(f"no answer from Kafka at {settings.brokers}: {error}. Run `trieflow doctor`")
