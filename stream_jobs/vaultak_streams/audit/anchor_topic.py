"""Anchors on the topic `vaultak.anchors`: a copy that whoever administers the sink's host alone cannot take back."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.errors import VaultakError
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import Anchor, ce_headers
from vaultak.wire.codec import UNREADABLE
from vaultak_streams.audit.anchor_file import Line

log = structlog.get_logger("vaultak.anchors")

TIMEOUT_S = 5.0
QUIET_S = 2.0
"""Without a message for so long, the end of the topic is reached: an embedded broker does not tell it rightly."""

_decoder = msgspec.json.Decoder(Anchor)


class AnchorTopicError(VaultakError):
    """The topic cannot be read."""


class AnchorTopic:
    """Publishes anchors. A broker that is away costs the copy of those anchors, counted; the file has them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None
        self.published = 0
        self.errors = 0

    async def publish(self, name: str, lines: list[bytes]) -> None:
        """Send the anchors of this sink, in order."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                producer = await self._started()
                for line in lines:
                    anchor = _decoder.decode(line)
                    headers = ce_headers("anchor", f"{name}:{anchor.number}", f"/sinks/{name}", anchor.ts)
                    topic, key = self._settings.topics.anchors, name.encode()
                    await producer.send_and_wait(topic, line, key=key, partition=0, headers=headers)
                    self.published += 1
        except (KafkaError, OSError, TimeoutError) as e:
            self.errors += 1
            if self.errors.bit_count() == 1:
                log.warning("anchors are in the file alone", error=_said(e), times=self.errors)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await end_client(producer)

    async def _started(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(**client_kwargs(self._settings), acks="all")
            try:
                await producer.start()
            except BaseException:
                await end_client(producer)
                raise
            self._producer = producer
        return self._producer


async def read_topic(settings: Settings) -> list[Line]:
    """Every anchor on the topic. Sinks take turns there, so that their order is not looked at, only their words.

    Raises `AnchorTopicError` when the broker does not answer.
    """
    topic = settings.topics.anchors
    consumer = AIOKafkaConsumer(
        **client_kwargs(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=fetch_wait_ms(settings),
    )
    lines: list[Line] = []
    try:
        await asyncio.wait_for(consumer.start(), TIMEOUT_S)
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        while batch := await consumer.getmany(partition, timeout_ms=int(QUIET_S * 1000)):
            lines.extend(_line(topic, record.offset, record.value) for record in batch.get(partition, []))
    except (KafkaError, OSError, TimeoutError) as e:
        raise AnchorTopicError(f"cannot read `{topic}` at {settings.bootstrap_servers}: {_said(e)}") from None
    finally:
        await end_client(consumer)
    return lines


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _line(topic: str, offset: int, value: bytes | None) -> Line:
    try:
        return Line(topic, offset, _decoder.decode(value or b""))
    except UNREADABLE as e:
        return Line(topic, offset, None, f"is no anchor: {e}")
