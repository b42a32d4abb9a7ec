"""Brings the stream's verdicts on one agent's actions to it, for policies that wait for them.

It has a consumer and a thread of its own: whatever keeps it from the verdicts keeps no command from the agent.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaultak import outside
from vaultak.config import Settings
from vaultak.control.partition import partition_of, partitions_of
from vaultak.kafka_clients import end_client
from vaultak.wire import DecodeError, Verdict, decode_verdict

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

log = logging.getLogger("vaultak.control")

POLL_S = 0.1
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 5.0
COMPLAIN_EVERY_S = 30.0

OnVerdict = Callable[[Verdict], None]


class VerdictFollower:
    """Calls `on_verdict`, on its own thread, with each verdict on this agent from its start on.

    Connects in the background and again after each failure; verdicts that came while it was away are not told.
    """

    def __init__(self, settings: Settings, agent_id: str, on_verdict: OnVerdict) -> None:
        self.agent_id = agent_id
        self.undecodable = 0
        """Messages of its partition that are no verdict."""
        self._settings = settings
        self._on_verdict = on_verdict
        self._following = threading.Event()
        self._stopping = threading.Event()
        self._complained_at = -COMPLAIN_EVERY_S
        self._thread = threading.Thread(target=self._main, name="vaultak-verdicts", daemon=True)

    def start(self) -> None:
        outside.start(self._thread)

    def wait_following(self, timeout_s: float) -> bool:
        """Whether verdicts given from now on will arrive; waits up to `timeout_s`."""
        return self._following.wait(timeout_s)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(3.0)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            if not self._stopping.is_set():
                log.exception("verdicts no longer reach agent %r", self.agent_id)

    async def _run(self) -> None:
        delay_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            consumer: AIOKafkaConsumer | None = None
            try:
                consumer = self._consumer()
                await consumer.start()
                await self._follow(consumer)
            except Exception as e:  # noqa: BLE001 - whatever keeps us from the broker, we try again
                self._complain(e)
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            finally:
                self._following.clear()
                if consumer is not None:
                    await end_client(consumer)

    def _consumer(self) -> AIOKafkaConsumer:
        from aiokafka import AIOKafkaConsumer

        from vaultak.kafka_clients import client_kwargs, fetch_wait_ms

        return AIOKafkaConsumer(
            **client_kwargs(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=fetch_wait_ms(self._settings),
            fetch_min_bytes=1,
            request_timeout_ms=10_000,
        )

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        from aiokafka import TopicPartition

        topic = self._settings.topics.verdicts
        count = len(await partitions_of(consumer, topic))
        partition = TopicPartition(topic, partition_of(self.agent_id, count))
        consumer.assign([partition])
        ends = await consumer.end_offsets([partition])
        consumer.seek(partition, ends[partition])
        self._following.set()
        while not self._stopping.is_set():
            for records in (await consumer.getmany(timeout_ms=int(POLL_S * 1000))).values():
                for record in records:
                    self._tell(record.value)

    def _tell(self, value: bytes | None) -> None:
        try:
            verdict = decode_verdict(value)
        except DecodeError:
            self.undecodable += 1
            return
        if verdict.agent_id == self.agent_id:
            self._on_verdict(verdict)

    async def _rest(self, delay_s: float) -> None:
        for _ in range(int(delay_s / 0.05)):
            if self._stopping.is_set():
                break
            await asyncio.sleep(0.05)

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = time.monotonic()
            log.warning("no verdicts reach agent %r: %s: %s", self.agent_id, type(error).__name__, error)
