"""Pushing a policy to every agent and worker, and going back to the one before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.partition import partitions_of
from vaultak.control.policies import pack
from vaultak.errors import PolicyError
from vaultak.kafka_clients import client_kwargs, end_client
from vaultak.policy.rules import Bundle
from vaultak.wire import Ack, DecodeError, PolicyRecord, ce_headers, decode_ack, decode_policy, encode, format_ts, uuid7
from vaultak_streams.operate import BrokerUnavailableError

MAX_RECORD_BYTES = 900 * 1024
"""What brokers take by default, with room for headers."""

READ_TIMEOUT_S = 10.0

Sign = Callable[[PolicyRecord], PolicyRecord]


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What was pushed, and which agents said that they judge by it, each with the seconds that took."""

    record: PolicyRecord
    acks: tuple[tuple[Ack, float], ...]


async def push(
    settings: Settings,
    sign: Sign,
    bundle: Bundle,
    *,
    canary: Mapping[str, str] | None = None,
    reason: str = "",
    issued_by: str = "operator",
    wait_s: float = 2.0,
) -> Pushed:
    """Publish a bundle for all agents, or for those with the labels of `canary`, and collect acknowledgements.

    Waits `wait_s` for them: there is no telling how many agents there are. Raises `PolicyError` when it is too large,
    `BrokerUnavailableError` when it could not be sent.
    """
    now_us = time.time_ns() // 1000
    record = sign(
        PolicyRecord(
            policy_id=uuid7(),
            epoch=now_us,
            ts=format_ts(now_us / 1e6),
            issued_by=issued_by,
            version=bundle.version,
            bundle=pack(bundle),
            canary=dict(canary or {}),
            reason=reason,
        )
    )
    return await _publish(settings, record, wait_s)


async def roll_back(settings: Settings, sign: Sign, *, issued_by: str = "operator", wait_s: float = 2.0) -> Pushed:
    """Push once more what counted before the last push; with a canary last, what counts for everybody.

    Raises `PolicyError` when nothing was pushed before.
    """
    records = sorted(await history(settings), key=lambda record: -record.epoch)
    general = [record for record in records if not record.canary]
    if not records or not general or (records[0] is general[0] and len(general) < 2):
        raise PolicyError("there is no earlier policy to go back to")
    before = general[1] if records[0] is general[0] else general[0]
    now_us = time.time_ns() // 1000
    again = msgspec.structs.replace(
        before,
        policy_id=uuid7(),
        epoch=now_us,
        ts=format_ts(now_us / 1e6),
        issued_by=issued_by,
        reason=f"back to {before.version} from {records[0].version}",
    )
    return await _publish(settings, sign(again), wait_s)


async def history(settings: Settings) -> list[PolicyRecord]:
    """All that was pushed and is still on the topic, oldest first. Signatures are not looked at."""
    consumer = AIOKafkaConsumer(**client_kwargs(settings), enable_auto_commit=False, fetch_max_wait_ms=50)
    try:
        await consumer.start()
        topic = settings.topics.policies
        partitions = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[PolicyRecord] = []
        async with asyncio.timeout(READ_TIMEOUT_S):
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=50)).values():
                    records += [known for message in batch if (known := _decoded(message.value)) is not None]
    except (KafkaError, OSError, LookupError, TimeoutError) as e:
        raise BrokerUnavailableError(f"policies cannot be read at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await end_client(consumer)
    return sorted(records, key=lambda record: record.epoch)


def _decoded(value: bytes | None) -> PolicyRecord | None:
    try:
        return None if value is None else decode_policy(value)
    except DecodeError:
        return None


async def _publish(settings: Settings, record: PolicyRecord, wait_s: float) -> Pushed:
    value = encode(record)
    if len(value) > MAX_RECORD_BYTES:
        raise PolicyError(f"the bundle has {len(value)} bytes packed, at most {MAX_RECORD_BYTES} can be pushed")
    kwargs = client_kwargs(settings)
    producer = AIOKafkaProducer(**kwargs, acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(**kwargs, enable_auto_commit=False, fetch_max_wait_ms=50)
    try:
        await producer.start()
        await consumer.start()
        topic = settings.topics.acks
        partitions = [TopicPartition(topic, number) for number in await partitions_of(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        started = time.monotonic()
        headers = ce_headers("policy", record.policy_id, "/operators", record.ts)
        await producer.send_and_wait(settings.topics.policies, value, key=str(record.epoch).encode(), headers=headers)
        acks = await _acknowledged(consumer, record.policy_id, started, wait_s)
    except (KafkaError, OSError, LookupError) as e:
        raise BrokerUnavailableError(f"no broker takes the policy at `{settings.bootstrap_servers}`: {e}") from None
    finally:
        await end_client(consumer)
        await end_client(producer)
    return Pushed(record=record, acks=tuple(acks))


async def _acknowledged(
    consumer: AIOKafkaConsumer, policy_id: str, started: float, wait_s: float
) -> list[tuple[Ack, float]]:
    acks: list[tuple[Ack, float]] = []
    while (left_s := started + wait_s - time.monotonic()) > 0:
        for batch in (await consumer.getmany(timeout_ms=max(1, int(min(left_s, 0.1) * 1000)))).values():
            for message in batch:
                try:
                    ack = decode_ack(message.value)
                except DecodeError:
                    continue
                if ack.command_id == policy_id:
                    acks.append((ack, time.monotonic() - started))
    return acks
