"""Bringing shards back from the changelog, exactly, on any broker.

Faust's own table recovery trusts `ListOffsets`, which the embedded broker answers short by a batch: the last profiles
would be lost. Here a partition is read until the position reaches the true end (`docs/adr/0001-stream-job.md`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from vaultak.kafka_clients import end_client
from vaultak_devstack.embedded_offsets import end_offsets
from vaultak_streams.pipeline.engine import P
from vaultak_streams.pipeline.shard import CorruptStateError, Shard

log = logging.getLogger("vaultak.worker")

STALL_S = 30.0
"""Without a single record for this long while some are due, the broker is taken to be away."""


class ChangelogLostError(Exception):
    """The changelog is shorter than it was: it was made anew, and what is in memory belongs to another one."""


class Changelog:
    """Reads the changelog of profiles. Remembers how far each partition has been read, so that a partition that
    comes back after a rebalance only costs what was written since."""

    def __init__(self, topic: str, client: dict[str, Any]) -> None:
        self.topic = topic
        self.counters: Counter[str] = Counter()
        self._client = client
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}

    def forget(self, partitions: Iterable[int]) -> None:
        """These partitions' shards are gone: the next `restore` starts from the beginning."""
        for partition in partitions:
            self._positions.pop(partition, None)
            self._ends.pop(partition, None)

    def written(self, partition: int, offset: int) -> None:
        """This worker wrote this record. It is read again after a rebalance all the same: another worker may have
        written before it."""
        self._ends[partition] = max(self._ends.get(partition, 0), offset + 1)

    async def restore(self, shards: dict[int, Shard[P]], source: str) -> dict[int, int]:
        """Bring these shards, by partition, up to date.

        Returns where the same partitions of the topic `source` end. Raises `KafkaError`, `TimeoutError`, or
        `ChangelogLostError`: then start anew.
        """
        wanted = {TopicPartition(self.topic, partition): shard for partition, shard in shards.items()}
        sources = {TopicPartition(source, partition): partition for partition in shards}
        ends = await end_offsets(partitions=[*wanted, *sources], **self._client)
        if any(self._ends.get(tp.partition, 0) > ends[tp] for tp in wanted):
            raise ChangelogLostError(f"`{self.topic}` was made anew")
        consumer = AIOKafkaConsumer(**self._client, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        try:
            first = await consumer.beginning_offsets(list(wanted))
            starts = {tp: max(first[tp], self._positions.get(tp.partition, 0)) for tp in wanted}
            left = {tp for tp in wanted if starts[tp] < ends[tp]}
            if left:
                consumer.assign(list(left))
                for tp in left:
                    consumer.seek(tp, starts[tp])
                await self._read(consumer, left, wanted, ends)
        finally:
            await end_client(consumer)
        self._positions.update({tp.partition: max(ends[tp], starts[tp]) for tp in wanted})
        self._ends.update(self._positions)
        return {partition: ends[tp] for tp, partition in sources.items()}

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        left: set[TopicPartition],
        shards: dict[TopicPartition, Shard[P]],
        ends: dict[TopicPartition, int],
    ) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STALL_S
        while left:
            for tp, records in (await consumer.getmany(*left, timeout_ms=100, max_records=500)).items():
                deadline = loop.time() + STALL_S
                for record in records:
                    self._take(shards[tp], record.key, record.value)
            for tp in list(left):
                if await consumer.position(tp) >= ends[tp]:
                    left.discard(tp)
                    consumer.pause(tp)
            if loop.time() > deadline:
                raise TimeoutError(f"the changelog `{self.topic}` could not be read to its end")

    def _take(self, shard: Shard[P], key: bytes | None, value: bytes | None) -> None:
        try:
            shard.load((key or b"").decode(), value)
            self.counters["restored"] += 1
        except (CorruptStateError, UnicodeDecodeError) as e:
            self.counters["restore.corrupt"] += 1
            log.error("changelog `%s`: %s; this agent starts anew", self.topic, e)
