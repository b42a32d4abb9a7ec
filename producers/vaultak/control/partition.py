"""The partition of an agent: murmur2 over its id in UTF-8, as every Kafka client's default partitioner does."""

from __future__ import annotations


def partition_of(agent_id: str, partitions: int) -> int:
    from aiokafka.partitioner import murmur2

    return int((murmur2(agent_id.encode()) & 0x7FFFFFFF) % partitions)
