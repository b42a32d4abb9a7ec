"""Faust's Kafka transport, delivering whole fetches.

Faust hands messages to agents one at a time and gathers them again by a timer (`take`, `noack_take`): about 50 us and
several turns of the event loop each, and the timer's wait on top. Here what one fetch brought is one batch: under load
batches grow by themselves, and when there is little to do nothing waits. Group membership, rebalancing, flow control
and the consumer's thread remain Faust's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError
from aiokafka.partitioner import DefaultPartitioner
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, HeadersArg

from vaultak_streams.agents.publisher import Message
from vaultak_streams.agents.sequence import Rewinds
from vaultak_streams.records import Record
from vaultak_streams.senders import Senders

FETCH_TIMEOUT_S = 1.0

REQUEST_TIMEOUT_MS = 30_000

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""A dead letter carries up to 64 KiB of raw bytes in base64; a profile is smaller by far."""

INBOX_BATCHES = 2
"""One being judged, one waiting: more would only make records wait in two places."""


class Batch(NamedTuple):
    """Records of one fetch, by partition, and the round of rewinds that it came after."""

    fetch_round: int
    records: dict[int, list[Record]]


class Inbox:
    """Batches on their way from the consumer to the agent. Bounded: a slow agent makes the consumer wait."""

    def __init__(self) -> None:
        self.rewinds = Rewinds()
        self._queue: asyncio.Queue[Batch] = asyncio.Queue(INBOX_BATCHES)

    async def put(self, batch: Batch) -> None:
        await self._queue.put(batch)

    async def get(self) -> Batch:
        return await self._queue.get()

    def empty(self) -> bool:
        return self._queue.empty()

    def clear(self) -> None:
        """Drop what waits: its partitions are being given away."""
        while not self._queue.empty():
            self._queue.get_nowait()


class Tuning(NamedTuple):
    """What the consumer and producer are made with."""

    client: dict[str, Any]
    group_id: str
    instance_id: str | None
    batch_records: int
    fetch_wait_ms: int
    session_timeout_ms: int


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust ships no types
    """The consumer's thread, with a consumer of our making."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        tuning: Tuning = self.app.tuning
        return aiokafka.AIOKafkaConsumer(
            **tuning.client,
            client_id=self.app.conf.broker_client_id,
            group_id=tuning.group_id,
            group_instance_id=tuning.instance_id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=tuning.batch_records,
            fetch_max_wait_ms=tuning.fetch_wait_ms,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            session_timeout_ms=tuning.session_timeout_ms,
            heartbeat_interval_ms=tuning.session_timeout_ms // 5,
            rebalance_timeout_ms=2 * tuning.session_timeout_ms,
        )


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust ships no types
    """Delivers each fetch to the app's inbox as one batch."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        inbox: Inbox = self.app.inbox
        while not (self.should_stop or fetcher.should_stop):
            for partition, offset in inbox.rewinds.take().items():
                await self._rewind(TP(self.app.actions_topic, partition), offset)
            fetch_round = inbox.rewinds.round
            try:
                records, _ = await self._wait_next_records(FETCH_TIMEOUT_S)
            except self.consumer_stopped_errors:
                if self.app.should_stop:
                    return
                raise
            if records and self.flow_active and not self.should_stop:
                batch = Batch(fetch_round, _by_partition(records, self.app.senders))
                # A rebalance must not wait for a full inbox; what it makes us drop is read again.
                await self.wait_first(inbox.put(batch), self.suspend_flow.wait())
            await asyncio.sleep(0)

    async def _rewind(self, tp: TP, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # not ours any more
            await self._thread.call_thread(self._seek_raw, tp, offset)

    async def _seek_raw(self, tp: TP, offset: int) -> None:
        self._thread._ensure_consumer().seek(aiokafka.TopicPartition(*tp), offset)

    async def start_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Where the group goes on in each partition: what is committed, or the beginning."""
        found: dict[int, int] = await self._thread.call_thread(self._start_offsets, list(partitions))
        return found

    async def _start_offsets(self, partitions: list[int]) -> dict[int, int]:
        consumer = self._thread._ensure_consumer()
        tps = [aiokafka.TopicPartition(self.app.actions_topic, partition) for partition in partitions]
        first = await consumer.beginning_offsets(tps)
        return {tp.partition: max(first[tp], await consumer.committed(tp) or 0) for tp in tps}

    async def commit_offsets(self, offsets: dict[int, int]) -> object:
        """Commit, by partition, the offset of the next record. Partitions that are not ours are left out."""
        return await self._commit({TP(self.app.actions_topic, p): offset for p, offset in offsets.items()})

    def fetched(self) -> dict[int, tuple[int, int]]:
        """For each partition the offset that the next fetch starts from, and where the partition ends."""
        consumer = self._thread._ensure_consumer()
        found = {}
        for tp in consumer.assignment():
            state = consumer._subscription.subscription.assignment.state_value(tp)
            if state is not None and state.has_valid_position and state.highwater is not None:
                found[tp.partition] = (state.position, state.highwater)
        return found


def _by_partition(records: Mapping[TP, list[Any]], senders: Senders | None) -> dict[int, list[Record]]:
    return {
        tp.partition: [
            Record(
                r.topic,
                r.partition,
                r.offset,
                r.key,
                r.value,
                r.timestamp,
                "" if senders is None else senders.objection(r.topic, r.key, r.value, r.headers),
            )
            for r in fetched
        ]
        for tp, fetched in records.items()
    }


class Producer(driver.Producer):  # type: ignore[misc]  # Faust ships no types
    """Faust's producer over one of our making. Not idempotent: the embedded broker knows no such producer, and what
    a resend doubles is found by its id."""

    async def on_start(self) -> None:
        """Learn of the topics now: the first command would wait tens of milliseconds for it."""
        await super().on_start()
        for topic in self.app.output_topics:
            await self._producer.partitions_for(topic)

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        tuning: Tuning = self.app.tuning
        return aiokafka.AIOKafkaProducer(
            **tuning.client,
            client_id=self.app.conf.broker_client_id,
            acks="all",
            linger_ms=0,
            max_batch_size=256 * 1024,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    async def deliver(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int | None, headers: HeadersArg
    ) -> Awaitable[Any]:
        """Hand over a message; the awaitable is done once the brokers have it."""
        delivery: Awaitable[Any] = await self._ensure_producer().send(
            topic, value, key=key, partition=partition, headers=headers
        )
        return delivery

    async def deliver_batch(self, topic: str, messages: Sequence[Message]) -> list[Awaitable[Any]]:
        """Hand over messages in order, as `deliver` does: a fifth of the price, as only batches are waited for."""
        producer = self._ensure_producer()
        partitions = sorted(await producer.partitions_for(topic))
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(_partition_of(message.key, len(partitions)), []).append(message)
        deliveries: list[Awaitable[Any]] = []
        for index, found in by_partition.items():
            partition, batch = partitions[index], producer.create_batch()
            for message in found:
                if batch.append(timestamp=None, key=message.key, value=message.value, headers=message.headers) is None:
                    deliveries.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=message.key, value=message.value, headers=message.headers)
            deliveries.append(await producer.send_batch(batch, topic, partition=partition))
        return deliveries


@lru_cache(maxsize=100_000)
def _partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's own partitioner puts a key, as an index."""
    index: int = _partitioner(key, range(partitions), ())
    return index


_partitioner = DefaultPartitioner()


class Transport(driver.Transport):  # type: ignore[misc]  # Faust ships no types
    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
