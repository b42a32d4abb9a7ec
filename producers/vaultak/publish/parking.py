"""Messages whose topic is missing or forbidden, set aside on disk by topic until it takes them."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from vaultak.publish.frames import Message, encode_body
from vaultak.publish.sending import send
from vaultak.publish.spool import Spool, SpoolFullError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

log = logging.getLogger("vaultak.publish")

MAX_TOPICS = 16
LIMIT_BYTES = 64 * 1024 * 1024
"""For each topic. What comes when it is full is dropped and counted."""


class Parking:
    """A spool for each failing topic, in order. Each is a queue like any other: an heir delivers what a death left."""

    def __init__(self, root: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._spools: dict[str, Spool] = {}
        self.dropped = 0
        self.corrupt = 0

    @property
    def pending_bytes(self) -> int:
        return sum(spool.pending_bytes for spool in tuple(self._spools.values()))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that are held up now."""
        return tuple(self._spools)

    def split(self, messages: list[Message]) -> list[Message]:
        """Park what belongs behind parked messages; returns the rest. Raises `OSError` when the disk takes no more."""
        for topic in self._spools:
            self._append(topic, [message for message in messages if message.topic == topic])
        return [message for message in messages if message.topic not in self._spools]

    def park(self, topic: str, messages: list[Message], why: str) -> None:
        """Set aside what a topic does not take. Raises `OSError` when the disk takes no more."""
        if topic not in self._spools:
            if len(self._spools) >= MAX_TOPICS:
                self.dropped += len(messages)
                log.error("topic %s (%s): %d events dropped, too many topics fail", topic, why, len(messages))
                return
            directory = self._root / f"{os.getpid()}-{secrets.token_hex(4)}-parked"
            self._spools[topic] = Spool(directory, limit_bytes=self._limit_bytes)
            log.error("topic %s: %s; its events wait in %s and others go on", topic, why, directory)
        self._append(topic, messages)

    def _append(self, topic: str, messages: list[Message]) -> None:
        spool = self._spools[topic]
        for message in messages:
            try:
                spool.append(encode_body(message.topic, message.key, message.value, message.headers))
            except SpoolFullError:
                self.dropped += 1

    async def retry(self, producer: AIOKafkaProducer, batch: int) -> int:
        """Send on what topics take again; returns how many messages. Raises when the broker fails as a whole."""
        delivered = 0
        for topic, spool in list(self._spools.items()):
            while spool.pending_bytes:
                messages, position = spool.peek(batch)
                sent = await send(producer, messages)
                if sent.failed:
                    break
                spool.delivered(position)
                delivered += sent.delivered
                self.dropped += sent.refused
            if not spool.pending_bytes:
                del self._spools[topic]
                self.corrupt += spool.corrupt
                spool.close()
                log.warning("topic %s takes events again", topic)
        return delivered

    def close(self) -> None:
        """Let go; what is left waits on disk for whoever finds it."""
        for spool in self._spools.values():
            self.corrupt += spool.corrupt
            spool.close()
        self._spools.clear()

    def abandon(self) -> None:
        """What a forked child does with its parent's."""
        for spool in self._spools.values():
            spool.abandon()
