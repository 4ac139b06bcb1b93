"""Where a partition ends is asked again while it has no leader; other errors come through."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.records import first_and_end

PLACE = TopicPartition("t", 0)


class Refusing:
    """A consumer whose broker refuses so often, as one does whose partition has no leader yet."""

    def __init__(self, code: int, times: int) -> None:
        self._code = code
        self.left = times

    def get_watermark_offsets(
        self, place: TopicPartition, *, timeout: float, cached: bool
    ) -> tuple[int, int]:
        if self.left > 0:
            self.left -= 1
            raise KafkaException(KafkaError(self._code))
        return 3, 7


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART])
def test_a_partition_without_a_leader_is_asked_again(code: int) -> None:
    assert first_and_end(Refusing(code, 2), PLACE, timeout_s=5) == (3, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "timeout_s", "left"),
    [(KafkaError.NOT_LEADER_FOR_PARTITION, 0, 8), (KafkaError.TOPIC_AUTHORIZATION_FAILED, 5, 8)],
    ids=["for too long", "for good"],
)
def test_what_does_not_pass_is_an_error(code: int, timeout_s: float, left: int) -> None:
    broker = Refusing(code, 9)
    with pytest.raises(KafkaException):
        first_and_end(broker, PLACE, timeout_s=timeout_s)  # type: ignore[arg-type]
    assert broker.left == left
