"""The one partitioner: murmur2 of the key, as Java's default and librdkafka's `murmur2_random`."""

from __future__ import annotations

from aiokafka.partitioner import murmur2

PARTITIONER = "murmur2_random"
"""librdkafka's name of it. Plain librdkafka producers must set it (their default is CRC32)."""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, in [0, partitions)."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
