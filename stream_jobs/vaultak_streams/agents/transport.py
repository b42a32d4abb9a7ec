"""Faust's Kafka transport, delivering whole fetches.

Faust hands messages to agents one at a time and gathers them again by a timer (`take`, `noack_take`): about 50 us and
several turns of the event loop each, and the timer's wait on top. Here what one fetch brought is one batch: under load
batches grow by themselves, and when there is little to do nothing waits. Group membership, rebalancing, flow control
and the consumer's thread remain Faust's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, NamedTuple

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, HeadersArg

from vaultak_streams.records import Record

FETCH_TIMEOUT_S = 1.0

REQUEST_TIMEOUT_MS = 30_000

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""A dead letter carries up to 64 KiB of raw bytes in base64; a profile is smaller by far."""

INBOX_BATCHES = 2
"""One being judged, one waiting: more would only make records wait in two places."""


class Batch(NamedTuple):
    """Records of one fetch, by partition, and the group's generation under which they came."""

    generation: int
    records: dict[int, list[Record]]


class Inbox:
    """Batches on their way from the consumer to the agent. Bounded: a slow agent makes the consumer wait."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Batch] = asyncio.Queue(INBOX_BATCHES)

    async def put(self, batch: Batch) -> None:
        await self._queue.put(batch)

    async def get(self) -> Batch:
        return await self._queue.get()

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
            generation = self.app.consumer_generation_id
            try:
                records, _ = await self._wait_next_records(FETCH_TIMEOUT_S)
            except self.consumer_stopped_errors:
                if self.app.should_stop:
                    return
                raise
            if not records or self.should_stop:
                await asyncio.sleep(0)
                continue
            # What was fetched before or during a rebalance is dropped: positions go back to what is committed, and
            # a later record must never be judged before an earlier one that is still to come again.
            if self.flow_active and generation == self.app.consumer_generation_id:
                await self.wait_first(inbox.put(Batch(generation, _by_partition(records))), self.suspend_flow.wait())


def _by_partition(records: Mapping[TP, list[Any]]) -> dict[int, list[Record]]:
    return {
        tp.partition: [Record(r.topic, r.partition, r.offset, r.key, r.value, r.timestamp) for r in fetched]
        for tp, fetched in records.items()
    }


class Producer(driver.Producer):  # type: ignore[misc]  # Faust ships no types
    """Faust's producer over one of our making. Not idempotent: the embedded broker knows no such producer, and what
    a resend doubles is found by its id."""

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


class Transport(driver.Transport):  # type: ignore[misc]  # Faust ships no types
    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
