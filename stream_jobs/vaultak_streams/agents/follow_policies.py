"""The worker's eye on `vaultak.policies`: what was pushed before, and what is pushed from now on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.partition import partitions_of
from vaultak.control.policies import Shelf, unpack
from vaultak.control.signatures import TrustStore
from vaultak.errors import VaultakError
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import DecodeError, decode_policy

log = logging.getLogger("vaultak.worker")

POLL_MS = 100
RETRY_S = 2.0


async def follow_policies(settings: Settings, changed: Callable[[Shelf], None]) -> None:
    """Call `changed` whenever another policy counts, until cancelled. A broker that is away is waited for.

    Only what a trusted key signed is taken over; anything else is said and leaves what counts as it is.
    """
    shelf, trust = Shelf(), TrustStore(settings.data_dir / "keys")
    while True:
        consumer = AIOKafkaConsumer(
            **client_kwargs(settings), enable_auto_commit=False, fetch_max_wait_ms=fetch_wait_ms(settings)
        )
        try:
            await consumer.start()
            topic = settings.topics.policies
            partitions = [TopicPartition(topic, partition) for partition in await partitions_of(consumer, topic)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                values = [record.value for records in batches.values() for record in records]
                if sum(_taken(value, shelf, trust) for value in values):
                    changed(shelf)
        except (KafkaError, OSError, LookupError, TimeoutError) as e:
            log.debug("policies cannot be followed (%s: %s); trying again", type(e).__name__, e)
        finally:
            await end_client(consumer)
        await asyncio.sleep(RETRY_S)


def _taken(value: bytes | None, shelf: Shelf, trust: TrustStore) -> bool:
    """Put a pushed policy on the shelf; whether that changes what counts."""
    if value is None:
        return False
    try:
        record = decode_policy(value)
        if refusal := trust.verify(record):
            log.error("policy %s is refused: %s", record.policy_id, refusal)
            return False
        return shelf.add(unpack(record))
    except (DecodeError, VaultakError, ValueError) as e:
        log.error("a pushed policy is refused: %s", e)
        return False
