"""The partition of an agent: murmur2 over its id in UTF-8, as every Kafka client's default partitioner does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

METADATA_TIMEOUT_S = 5.0
_POLL_S = 0.02


def partition_of(agent_id: str, partitions: int) -> int:
    from aiokafka.partitioner import murmur2

    return int((murmur2(agent_id.encode()) & 0x7FFFFFFF) % partitions)


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """The partitions of a topic. Raises `LookupError` when the broker does not have it.

    A client without a group learns of a topic only once it is assigned to it: a consumer that does not follow it
    yet loses its assignment here.
    """
    from aiokafka import TopicPartition

    if not consumer.partitions_for_topic(topic):
        consumer.assign([TopicPartition(topic, 0)])
        for _ in range(int(METADATA_TIMEOUT_S / _POLL_S)):
            if consumer.partitions_for_topic(topic):
                break
            await asyncio.sleep(_POLL_S)
        else:
            raise LookupError(f"the broker has no topic `{topic}`")
    return set(consumer.partitions_for_topic(topic))
