"""The worker's eye on `vaultak.baselines`: what agents of each role were seen to do, by this worker and the others."""

from __future__ import annotations

import asyncio
import logging

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.partition import partitions_of
from vaultak.control.signatures import TrustStore
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import DecodeError, decode_peer_sighting
from vaultak_devstack.embedded_offsets import end_offsets
from vaultak_models.peers import Peers

log = logging.getLogger("vaultak.worker")

POLL_MS = 200
RETRY_S = 2.0
BATCH = 2_000
CAUGHT_UP_TIMEOUT_S = 30.0
"""What a worker waits at most for what was seen before it started; without it, more is odd, and nothing less."""


class PeersFollower:
    """Keeps a worker's `Peers` up with the topic. Only what a trusted key signed is taken in; the rest is said."""

    def __init__(self, settings: Settings, peers: Peers) -> None:
        self._settings = settings
        self._peers = peers
        self._trust = TrustStore(settings.data_dir / "keys")
        self._caught_up = asyncio.Event()
        self.refused = 0

    async def caught_up(self) -> None:
        """Wait until all that was written before the start is taken in, or too long."""
        try:
            async with asyncio.timeout(CAUGHT_UP_TIMEOUT_S):
                await self._caught_up.wait()
        except TimeoutError:
            log.warning("`%s` cannot be read; judging without what peers do", self._settings.topics.baselines)
            self._caught_up.set()

    async def run(self) -> None:
        """Until cancelled. A broker that is away is waited for."""
        client = client_kwargs(self._settings)
        while True:
            consumer = AIOKafkaConsumer(
                **client, enable_auto_commit=False, fetch_max_wait_ms=fetch_wait_ms(self._settings)
            )
            try:
                await consumer.start()
                topic = self._settings.topics.baselines
                partitions = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
                ends = await end_offsets(partitions=partitions, **client)
                consumer.assign(partitions)
                await consumer.seek_to_beginning(*partitions)
                await self._follow(consumer, ends)
            except (KafkaError, OSError, LookupError, TimeoutError) as e:
                log.debug("what peers do cannot be followed (%s: %s); trying again", type(e).__name__, e)
            finally:
                await end_client(consumer)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
        while True:
            for tp in [tp for tp, end in ends.items() if await consumer.position(tp) >= end]:
                del ends[tp]
            if not ends:
                self._caught_up.set()
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
            for records in batches.values():
                for record in records:
                    self._take(record.value)
                await asyncio.sleep(0)

    def _take(self, value: bytes | None) -> None:
        if value is None:
            return
        try:
            sighting = decode_peer_sighting(value)
            refusal = self._trust.verify(sighting)
        except DecodeError as e:
            refusal = str(e)
        if not refusal:
            self._peers.merge(sighting)
            return
        self.refused += 1
        if self.refused == 1:
            log.error("what is said of peers on `%s` is refused: %s", self._settings.topics.baselines, refusal)
