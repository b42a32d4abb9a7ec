"""Which model judges, told to every host of a deployment: published when promoted, taken over where workers run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.partition import partitions_of
from vaultak.control.signatures import TrustStore
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import DecodeError, ModelPromotion, ce_headers, decode_promotion, encode, format_ts, uuid7
from vaultak_models.registry import Registry, RegistryError
from vaultak_streams.operate import BrokerUnavailableError

log = logging.getLogger("vaultak.worker")

POLL_MS = 200
RETRY_S = 2.0
MAX_RECORD_BYTES = 512 * 1024

Sign = Callable[[ModelPromotion], ModelPromotion]


async def publish(settings: Settings, sign: Sign, registry: Registry, *, issued_by: str = "operator") -> ModelPromotion:
    """Tell what the registry has judge. Raises `RegistryError` for what cannot be told, `BrokerUnavailableError`."""
    current = registry.current()
    now_us = time.time_ns() // 1000
    promotion = sign(
        ModelPromotion(
            promotion_id=uuid7(),
            epoch=now_us,
            ts=format_ts(now_us / 1e6),
            issued_by=issued_by,
            version=current.version,
            files=registry.files_of(current.version),
        )
    )
    value = encode(promotion)
    if len(value) > MAX_RECORD_BYTES:
        raise RegistryError(
            f"model `{current.version}` has {len(value)} bytes packed, at most {MAX_RECORD_BYTES} travel"
        )
    producer = AIOKafkaProducer(
        **client_kwargs(settings), acks="all", linger_ms=0, max_request_size=2 * MAX_RECORD_BYTES
    )
    try:
        await producer.start()
        headers = ce_headers("model-promotion", promotion.promotion_id, "/operators", promotion.ts)
        key = str(promotion.epoch).encode()
        await producer.send_and_wait(settings.topics.models, value, key=key, headers=headers)
    except (KafkaError, OSError) as e:
        raise BrokerUnavailableError(f"no broker takes the model at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await end_client(producer)
    registry.heard(promotion.epoch)
    return promotion


async def follow_promotions(settings: Settings, registry: Registry) -> None:
    """Take over into the registry what is promoted elsewhere, until cancelled. A broker that is away is waited for.

    Only what a trusted key signed and what can be used is taken over; anything else is said, and changes nothing.
    """
    trust = TrustStore(settings.data_dir / "keys")
    while True:
        consumer = AIOKafkaConsumer(
            **client_kwargs(settings), enable_auto_commit=False, fetch_max_wait_ms=fetch_wait_ms(settings)
        )
        try:
            await consumer.start()
            topic = settings.topics.models
            partitions = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS)
                for record in (record for records in batches.values() for record in records):
                    await asyncio.to_thread(_take, record.value, registry, trust)
        except (KafkaError, OSError, LookupError, TimeoutError) as e:
            log.debug("promotions cannot be followed (%s: %s); trying again", type(e).__name__, e)
        finally:
            await end_client(consumer)
        await asyncio.sleep(RETRY_S)


def _take(value: bytes | None, registry: Registry, trust: TrustStore) -> None:
    if value is None:
        return
    try:
        promotion = decode_promotion(value)
        if promotion.epoch <= registry.current().epoch:
            return
        if refusal := trust.verify(promotion):
            log.error("the promotion of model `%s` is refused: %s", promotion.version[:40], refusal)
            return
        registry.take_over(promotion.version, promotion.files, promotion.epoch)
    except (DecodeError, RegistryError) as e:
        log.error("a promoted model is refused: %s", e)
