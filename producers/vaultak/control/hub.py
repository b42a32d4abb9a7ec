"""One consumer per process for the commands of all its agents and for policies: no group, its own choice of partitions.

Every instance of an agent sees every command. The end of the control partition is noted before the stored state is
read, so nothing falls between the two; what is read twice is dropped by command id and epoch. After a lost connection
it goes on where it was. A broker that comes back empty (the embedded one keeps nothing) is noticed by its high
watermark: all of the new log is read then, and the stored state once more.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from vaultak import outside
from vaultak.config import Settings
from vaultak.control.partition import partition_of, partitions_of
from vaultak.control.policies import Shelf, unpack
from vaultak.control.signatures import TrustStore
from vaultak.errors import PolicyError
from vaultak.kafka_clients import end_client
from vaultak.wire import DecodeError, decode_command, decode_policy, decode_state
from vaultak.wire.commands import EVERY_AGENT

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from vaultak.control.listener import ControlListener

log = logging.getLogger("vaultak.control")

POLL_S = 0.1
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 5.0
STATE_TIMEOUT_S = 10.0
COMPLAIN_EVERY_S = 30.0


class Hub:
    """The listening thread of one process and deployment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._listeners: list[ControlListener] = []
        self._fresh: list[ControlListener] = []
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._unreachable = False
        self._complained_at = -COMPLAIN_EVERY_S
        self._learning: list[asyncio.Task[None]] = []
        self.state_failures = 0
        """How often the stored states could not be read."""
        self._positions: dict[TopicPartition, int] = {}
        self._shelf = Shelf()
        self._without_policies = False
        self.policies_refused = 0
        """Pushed policies that were not signed by a trusted key, or not what they claim to be."""

    @functools.cached_property
    def _trust(self) -> TrustStore:
        return TrustStore(self._settings.data_dir / "keys")

    def add(self, listener: ControlListener) -> None:
        with self._lock:
            self._listeners.append(listener)
            self._fresh.append(listener)
            self._stopping = False
            if self._unreachable:
                listener.unreachable()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._main, name="vaultak-control", daemon=True)
                outside.start(self._thread)

    def remove(self, listener: ControlListener) -> None:
        """Forget a listener; the thread ends with the last one."""
        with self._lock:
            self._listeners = [known for known in self._listeners if known is not listener]
            self._fresh = [known for known in self._fresh if known is not listener]
            self._stopping = not self._listeners
            if self._stopping:
                self._positions.clear()
            thread = self._thread
        if self._stopping and thread is not None and thread is not threading.current_thread():
            thread.join(3.0)

    def _main(self) -> None:
        from vaultak.control.signatures import load_cryptography

        load_cryptography()  # now, so that the first command does not wait for it
        try:
            asyncio.run(self._run())
        except Exception:
            if not self._stopping:  # closing the loop needs a thread, which an interpreter that ends refuses
                log.exception("the control thread ended: commands no longer reach this process")

    async def _run(self) -> None:
        delay_s = FIRST_RETRY_S
        while not self._stopping:
            consumer: AIOKafkaConsumer | None = None
            try:
                consumer = await self._connect()
                delay_s = FIRST_RETRY_S
                await self._follow(consumer)
            except Exception as e:  # noqa: BLE001 - whatever keeps us from the broker, we try again
                self._complain(e)
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            finally:
                if consumer is not None:
                    await end_client(consumer)

    async def _connect(self) -> AIOKafkaConsumer:
        """A connected consumer. Settings that no client accepts (a CA file that is gone) raise as a broker does."""
        consumer: AIOKafkaConsumer | None = None
        try:
            consumer = self._consumer()
            await consumer.start()
        except Exception:
            if consumer is not None:
                await end_client(consumer)
            with self._lock:
                self._unreachable = True
                for listener in self._listeners:
                    listener.unreachable()
            raise
        with self._lock:
            self._unreachable = self._without_policies = False
            self._fresh = list(self._listeners)
        return consumer

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
        try:
            await self._listen(consumer)
        finally:
            for task in self._learning:
                task.cancel()
            await asyncio.gather(*self._learning, return_exceptions=True)
            self._learning.clear()

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping:
            with self._lock:
                fresh, self._fresh = self._fresh, []
            if fresh:
                self._learning = [task for task in self._learning if not task.done()]
                await self._take_up(consumer, fresh)
            batches = await consumer.getmany(timeout_ms=int(POLL_S * 1000))
            for partition, records in batches.items():
                for record in records:
                    if partition.topic == self._settings.topics.policies:
                        self._adopt(record.value, list(self._listeners))
                    else:
                        self._dispatch(record.value)
                self._positions[partition] = records[-1].offset + 1
            await self._begin_again_on_new_logs(consumer)

    async def _begin_again_on_new_logs(self, consumer: AIOKafkaConsumer) -> None:
        """A log that ends before our position is another log: the broker lost the one we knew, and does not say so."""
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if end is not None and await consumer.position(partition) > end:
                log.warning("the broker's log of %s began anew: reading all of it", partition.topic)
                self._positions.pop(partition, None)
                await consumer.seek_to_beginning(partition)
                self._learning.append(asyncio.create_task(self._learn(list(self._listeners))))

    def _dispatch(self, value: bytes | None) -> None:
        try:
            command = decode_command(value)
        except DecodeError as e:
            log.warning("a message on the control topic is no command: %s", e)
            return
        for listener in tuple(self._listeners):
            listener.command(command)

    def _adopt(self, value: bytes | None, listeners: list[ControlListener], *, news: bool = True) -> None:
        """Verify a pushed policy, make it ready, and have the agents take it over. What is refused changes nothing."""
        if value is None:
            return
        try:
            record = decode_policy(value)
            if refusal := self._trust.verify(record):
                raise PolicyError(f"policy {record.policy_id}: {refusal}")
            kept = self._shelf.add(unpack(record))
        except Exception as e:  # noqa: BLE001 - whatever foreign bytes do, the policy that counts stays
            self.policies_refused += 1
            log.error("a pushed policy is refused, the one before stays: %s", e)
            return
        if kept and news:
            for listener in listeners:
                listener.policy(self._shelf, record)

    async def _take_up(self, consumer: AIOKafkaConsumer, fresh: list[ControlListener]) -> None:
        """Follow the partitions of new listeners too, then tell them their stored state."""
        followed = set(consumer.assignment())
        wanted = await _partitions_for(consumer, self._settings.topics.control, fresh)
        wanted |= await self._policy_partitions(consumer)
        if new := wanted - followed:
            positions = {partition: await consumer.position(partition) for partition in followed}
            consumer.assign(sorted(followed | wanted))
            for partition, position in positions.items():
                consumer.seek(partition, position)
            ends = await consumer.end_offsets(sorted(new))
            for partition, end in ends.items():
                consumer.seek(partition, self._positions.setdefault(partition, end))
        self._learning.append(asyncio.create_task(self._learn(fresh)))

    async def _policy_partitions(self, consumer: AIOKafkaConsumer) -> set[TopicPartition]:
        """All of them; none, once and for all of this connection, where the broker has no such topic."""
        from aiokafka import TopicPartition

        topic = self._settings.topics.policies
        if self._without_policies:
            return set()
        try:
            return {TopicPartition(topic, partition) for partition in await partitions_of(consumer, topic)}
        except LookupError as e:
            self._without_policies = True
            log.warning("no policies can be pushed to this process: %s", e)
            return set()

    async def _learn(self, fresh: list[ControlListener]) -> None:
        """Tell listeners their stored states, however often that has to be tried; commands are followed meanwhile."""
        while not self._stopping:
            try:
                await self._tell_states(fresh)
            except Exception as e:  # noqa: BLE001 - whatever keeps us from the states, we try again
                self.state_failures += 1
                names = ", ".join(repr(listener.agent_id) for listener in fresh[:5])
                log.error("the stored state of agents %s is unknown, trying on: %s: %s", names, type(e).__name__, e)
                await self._rest(LAST_RETRY_S)
            else:
                for listener in fresh:
                    listener.ready()
                return

    async def _tell_states(self, fresh: list[ControlListener]) -> None:
        """Read the compacted states and policies from their beginning to their end. Raises when that cannot be done."""
        consumer = self._consumer()
        topics = self._settings.topics
        try:
            await consumer.start()
            partitions = await _partitions_for(consumer, topics.agent_state, fresh)
            partitions |= await self._policy_partitions(consumer)
            consumer.assign(sorted(partitions))
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(sorted(partitions))
            deadline = time.monotonic() + STATE_TIMEOUT_S
            while not await _at_end(consumer, ends):
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"nothing more of the stored states came within {STATE_TIMEOUT_S:.0f} s")
                for partition, records in (await consumer.getmany(timeout_ms=50)).items():
                    deadline = time.monotonic() + STATE_TIMEOUT_S
                    for record in records:
                        if partition.topic == topics.policies:
                            self._adopt(record.value, fresh, news=False)
                        else:
                            self._tell(record.value, fresh)
        finally:
            await end_client(consumer)
        for listener in fresh:
            listener.policy(self._shelf, None)

    def _tell(self, value: bytes | None, fresh: list[ControlListener]) -> None:
        if value is None:  # a tombstone: the state was forgotten on purpose
            return
        try:
            record = decode_state(value)
        except DecodeError as e:
            log.warning("a message on the agent-state topic is no state: %s", e)
            return
        for listener in fresh:
            listener.state(record)

    async def _rest(self, delay_s: float) -> None:
        for _ in range(int(delay_s / 0.05)):
            if self._stopping:
                break
            await asyncio.sleep(0.05)

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = time.monotonic()
            servers = self._settings.bootstrap_servers
            log.warning("no commands reach this process: %s: %s: %s", servers, type(error).__name__, error)


async def _partitions_for(
    consumer: AIOKafkaConsumer, topic: str, listeners: list[ControlListener]
) -> set[TopicPartition]:
    """Where messages to these agents, and to all, are."""
    from aiokafka import TopicPartition

    count = len(await partitions_of(consumer, topic))
    keys = {key for listener in listeners for key in (listener.agent_id, EVERY_AGENT)}
    return {TopicPartition(topic, partition_of(key, count)) for key in keys}


async def _at_end(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    """Whether everything has been read. The high water mark of a fetch counts besides what the broker said first."""
    for partition, end in ends.items():
        known = max(end, consumer.highwater(partition) or 0)
        if await consumer.position(partition) < known:
            return False
    return True


_hubs: dict[tuple[int, str], Hub] = {}
_hubs_lock = threading.Lock()


def hub_for(settings: Settings) -> Hub:
    """The process's hub for a deployment; a forked child gets its own."""
    key = (os.getpid(), repr(settings))
    with _hubs_lock:
        if key not in _hubs:
            _hubs[key] = Hub(settings)
        return _hubs[key]


def _after_fork() -> None:
    global _hubs_lock
    _hubs_lock = threading.Lock()
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
