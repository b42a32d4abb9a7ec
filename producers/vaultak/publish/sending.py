"""One batch to the broker: order is kept within a topic, and a topic that fails does not hold up the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from vaultak.publish.frames import Message
from vaultak.wire.senders import Sender

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

TOPIC_ATTEMPTS, TOPIC_PAUSE_S = 3, 0.1
"""A broker that makes topics on demand does not know a new one at the first asking."""


class Sent(msgspec.Struct):
    """What became of a batch."""

    delivered: int = 0
    refused: int = 0
    """Messages that the broker will never take."""
    failed: dict[str, tuple[list[Message], str]] = msgspec.field(default_factory=dict)
    """By topic: what has to be sent again once the topic is there or allowed, and why."""


async def send(producer: AIOKafkaProducer, messages: list[Message], sender: Sender | None = None) -> Sent:
    """Send and wait for all; `sender` vouches for them.

    Raises when the broker fails as a whole: then the same batch is to be sent again.
    """
    by_topic: dict[str, list[Message]] = {}
    for message in messages:
        by_topic.setdefault(message.topic, []).append(message)
    sent = Sent()
    done = await asyncio.gather(
        *(_send_topic(producer, *group, sender) for group in by_topic.items()), return_exceptions=True
    )
    for (topic, group), result in zip(by_topic.items(), done, strict=True):
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, str):
            sent.failed[topic] = group, result
        else:
            sent.refused += result
            sent.delivered += len(group) - result
    return sent


async def _send_topic(
    producer: AIOKafkaProducer, topic: str, messages: list[Message], sender: Sender | None
) -> int | str:
    """How many messages were refused, or why the topic takes none."""
    from aiokafka.errors import (
        InvalidTopicError,
        MessageSizeTooLargeError,
        TopicAuthorizationFailedError,
        UnknownTopicOrPartitionError,
    )

    if reason := await _unusable(producer, topic):
        return reason
    pending, refused = [], 0
    for message in messages:
        try:
            headers = list(message.headers)
            if sender is not None:
                headers += sender.headers(topic, message.key, message.value)
            sending = await producer.send(topic, message.value, key=message.key, headers=headers)
            pending.append(sending)
        except MessageSizeTooLargeError:
            refused += 1
    for result in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(result, MessageSizeTooLargeError):
            refused += 1
        elif isinstance(result, InvalidTopicError | TopicAuthorizationFailedError | UnknownTopicOrPartitionError):
            return type(result).__name__
        elif isinstance(result, BaseException):
            raise result
    return refused


async def _unusable(producer: AIOKafkaProducer, topic: str) -> str:
    """Why a broker that answers does not have the topic for us; empty when it does. Raises when none answers."""
    from aiokafka.errors import KafkaConnectionError

    client = producer.client
    for attempt in range(TOPIC_ATTEMPTS):
        if client.cluster.partitions_for_topic(topic):
            return ""
        if attempt:
            await asyncio.sleep(TOPIC_PAUSE_S)
        client.add_topic(topic)
        if not await client.force_metadata_update():
            raise KafkaConnectionError("the broker does not answer")
    if client.cluster.partitions_for_topic(topic):
        return ""
    return "forbidden" if topic in client.cluster.unauthorized_topics else "the broker does not have it"
