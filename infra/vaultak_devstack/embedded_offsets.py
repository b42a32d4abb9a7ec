"""Where partitions end, on any broker.

The embedded broker answers `ListOffsets(latest)` with the first offset of the last batch plus one, so every
`end_offsets`, `seek_to_end` and Faust high-water mark is short by the last batch. Its fetch responses are right: one
fetch a partition tells the truth. On a real Kafka both agree, and this costs that one fetch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

FETCH_WAIT_MS = 10


async def end_offsets(
    bootstrap_servers: str, partitions: Iterable[TopicPartition], *, timeout_s: float = 10.0, **client: Any
) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition (0 when there never was one).

    `client`: further keyword arguments for aiokafka (security). Raises `TimeoutError` when the broker does not answer
    in time, `KafkaError` as aiokafka does.
    """
    wanted = list(dict.fromkeys(partitions))
    options = {"fetch_max_wait_ms": FETCH_WAIT_MS, "max_partition_fetch_bytes": 1, **client}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="latest", **options
    )
    await consumer.start()
    try:
        told = await consumer.end_offsets(wanted)
        first = await consumer.beginning_offsets(wanted)
        filled = [tp for tp in wanted if told[tp] > first[tp]]
        return {**told, **await _high_waters(consumer, filled, told, timeout_s)} if filled else told
    finally:
        await consumer.stop()


async def _high_waters(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], told: dict[TopicPartition, int], timeout_s: float
) -> dict[TopicPartition, int]:
    deadline = time.monotonic() + timeout_s
    consumer.assign(partitions)
    for tp in partitions:
        consumer.seek(tp, told[tp] - 1)
    found: dict[TopicPartition, int] = {}
    while len(found) < len(partitions):
        if time.monotonic() > deadline:
            raise TimeoutError("the broker did not tell where its partitions end")
        await consumer.getmany(timeout_ms=FETCH_WAIT_MS)
        found |= {tp: mark for tp in partitions if (mark := consumer.highwater(tp)) is not None}
    return {tp: max(mark, told[tp]) for tp, mark in found.items()}
