"""The thread between the queue and the broker: an event loop, a producer, patience."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from vaultak import outside
from vaultak.config import Settings
from vaultak.kafka_clients import end_client
from vaultak.publish.disk import make_room
from vaultak.publish.frames import Message
from vaultak.publish.parking import Parking
from vaultak.publish.queues import MemoryQueue, Queue
from vaultak.publish.sending import send
from vaultak.publish.spool import ORPHANS_AT_ONCE, Spool, orphans
from vaultak.wire.senders import Sender

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

log = logging.getLogger("vaultak.publish")

BATCH = 500
IDLE_S = 1.0
ADOPT_EVERY_S = 30.0
PARKED_EVERY_S = 5.0
YIELD_S, YIELD_AT_MOST_S = 0.005, 1.0
"""How an orphan's batch waits while live events are there, and when it goes all the same: they may never end."""
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
REQUEST_TIMEOUT_MS = 10_000
COMPLAIN_EVERY_S = 30.0


class Delivery:
    """Delivers a queue in order, at least once, for as long as it takes. Counters are read by others, written here."""

    def __init__(self, settings: Settings, queue: Queue, lock: threading.RLock) -> None:
        self._settings = settings
        self._queue = queue
        self._lock = lock
        self.overflow = MemoryQueue()
        self.parking = Parking(settings.spool_dir)
        self._sender = Sender.of(settings.api_key)
        self._adopting: list[Spool] = []
        self.delivered = self.adopted = self.refused = self.retries = self.corrupt = 0
        self.dropped_orphaned = 0
        self.connected = False
        self.last_error = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Event | None = None
        self.idle = False
        """Asleep: whoever queues something calls `wake`."""
        self._stopping = False
        self._complained_at = -COMPLAIN_EVERY_S
        self._thread = threading.Thread(target=self._main, name="vaultak-publisher", daemon=True)

    def start(self) -> None:
        outside.start(self._thread)

    def wake(self) -> None:
        """There is work. Costs a flag's look unless the thread sleeps."""
        if self.idle and self._loop is not None and self._work is not None:
            self.idle = False
            try:
                self._loop.call_soon_threadsafe(self._work.set)
            except RuntimeError:
                return  # the loop has ended

    def stop(self, timeout_s: float = 3.0) -> None:
        self._stopping = True
        self.idle = True
        self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            if not self._stopping:  # closing the loop needs a thread, which an interpreter that ends refuses
                log.exception("the publisher's thread ended; events stay spooled")

    async def _run(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.Event()
        self._order = asyncio.Lock()
        adopting = asyncio.create_task(self._adopt_always())
        try:
            if (producer := await self._connect()) is not None:
                try:
                    await self._deliver(producer)
                finally:
                    self.connected = False
                    await end_client(producer)
        finally:
            adopting.cancel()
            await asyncio.gather(adopting, return_exceptions=True)
            self.parking.close()

    async def _connect(self) -> AIOKafkaProducer | None:
        """A connected producer, however long that takes; `None` when stopped meanwhile."""
        from aiokafka import AIOKafkaProducer

        from vaultak.kafka_clients import client_kwargs

        delay_s = FIRST_RETRY_S
        while not self._stopping:
            producer: AIOKafkaProducer | None = None
            try:
                producer = AIOKafkaProducer(
                    **client_kwargs(self._settings),
                    acks="all",
                    linger_ms=0,
                    max_request_size=2 * 1024 * 1024,
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                )
                await producer.start()
            except Exception as e:  # noqa: BLE001 - whatever keeps us from the broker, we try again
                self._failed("cannot reach", e)
                if producer is not None:
                    await end_client(producer)
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            else:
                self.connected = True
                self.last_error = ""
                return producer
        return None

    async def _deliver(self, producer: AIOKafkaProducer) -> None:
        """Deliver until stopped. Parked topics tried again now and then."""
        unparking = asyncio.create_task(self._unpark_always(producer))
        delay_s = FIRST_RETRY_S
        try:
            while not self._stopping:
                with self._lock:
                    queue: Queue = self._queue if self._queue.pending_bytes else self.overflow
                    messages, position = queue.peek(BATCH)
                if not messages and not queue.pending_bytes:
                    await self._wait()
                    continue
                try:
                    delivered = await self._send(producer, messages)
                except Exception as e:  # noqa: BLE001 - order matters more than the kind of failure: the same again
                    self.retries += 1
                    self._failed("cannot deliver to", e)
                    await self._rest(delay_s)
                    delay_s = min(delay_s * 2, LAST_RETRY_S)
                    continue
                delay_s = FIRST_RETRY_S
                self.connected = True
                with self._lock:
                    queue.delivered(position)
                self.delivered += delivered
        finally:
            unparking.cancel()
            await asyncio.gather(unparking, return_exceptions=True)

    async def _send(self, producer: AIOKafkaProducer, messages: list[Message]) -> int:
        """Send, and set aside what belongs to failing topics; returns how many the broker has taken."""
        async with self._order:
            sent = await send(producer, self.parking.split(messages), self._sender)
            for topic, (failed, why) in sent.failed.items():
                self.parking.park(topic, failed, why)
        self.refused += sent.refused
        return sent.delivered

    async def _unpark_always(self, producer: AIOKafkaProducer) -> None:
        while True:
            await asyncio.sleep(PARKED_EVERY_S)
            try:
                async with self._order:
                    self.delivered += await self.parking.retry(producer, BATCH)
            except Exception as e:  # noqa: BLE001 - it stays on disk and is tried again
                self._failed("cannot deliver parked events to", e)

    async def _adopt_always(self) -> None:
        """Deliver what dead processes left, through a producer of its own: live events do not queue behind it."""
        while not self._stopping:
            more = False
            try:
                await self._make_room()
                own = self._queue.directory if isinstance(self._queue, Spool) else None
                self._adopting = await asyncio.to_thread(orphans, self._settings.spool_dir, own)
                more = bool(self._adopting) and await self._adopt()
            except Exception as e:  # noqa: BLE001 - they stay on disk and are tried again
                self._failed("cannot deliver a dead process's events to", e)
            finally:
                for orphan in self._adopting:
                    orphan.close()
                self._adopting = []
            await asyncio.sleep(0.0 if more else ADOPT_EVERY_S)

    async def _make_room(self) -> None:
        if dropped := await asyncio.to_thread(make_room, self._settings.spool_dir):
            self.dropped_orphaned += dropped
            log.error("the spools take too much disk: %d events of dead processes dropped, the oldest", dropped)

    async def _adopt(self) -> bool:
        """Deliver the orphans that were opened; whether there may be more of them to take up at once."""
        found, emptied = len(self._adopting), 0
        producer = await self._connect()
        if producer is None:
            return False
        try:
            while self._adopting:
                orphan = self._adopting[0]
                try:
                    emptied += await self._empty(producer, orphan)
                finally:
                    self._adopting.remove(orphan)
                    self.passed_over(orphan)
                    orphan.close()
        finally:
            await end_client(producer)
        return found >= ORPHANS_AT_ONCE and emptied > 0

    async def _empty(self, producer: AIOKafkaProducer, orphan: Spool) -> bool:
        """Deliver one orphan; whether nothing is left of it."""
        while not self._stopping:
            messages, position = orphan.peek(BATCH)
            if not messages:
                orphan.delivered(position)
                return True
            await self._let_live_go_first()
            try:
                async with self._order:
                    messages = self.parking.split(messages)
                sent = await send(producer, messages, self._sender)
            except Exception as e:  # noqa: BLE001 - it stays on disk and is tried again
                self._failed("cannot deliver a dead process's events to", e)
                return False
            async with self._order:
                for topic, (failed, why) in sent.failed.items():
                    self.parking.park(topic, failed, why)
            orphan.delivered(position)
            self.refused += sent.refused
            self.adopted += sent.delivered
        return False

    async def _let_live_go_first(self) -> None:
        deadline = time.monotonic() + YIELD_AT_MOST_S
        while self._queue.pending_bytes and time.monotonic() < deadline:  # noqa: ASYNC110 - the queue is no event
            await asyncio.sleep(YIELD_S)

    def after_fork_in_child(self) -> None:
        """Close what the parent holds: a lock that a child keeps would outlive the parent and hide its orphan."""
        for spool in self._adopting:
            spool.abandon()
        self.parking.abandon()

    def passed_over(self, spool: Spool) -> None:
        """Take the damage of a spool that is let go into the counts, and say so."""
        if spool.corrupt:
            self.corrupt += spool.corrupt
            log.error(
                "%s is damaged: %d stretches (%d bytes) of events cannot be read and are lost",
                spool.directory,
                spool.corrupt,
                spool.corrupt_bytes,
            )

    async def _wait(self) -> None:
        """Sleep until woken, or a second: a wake-up that got lost costs no more than that."""
        assert self._work is not None
        self._work.clear()
        self.idle = True
        if self._queue.pending_bytes or self.overflow.pending_bytes or self._stopping:
            self.idle = False
            return
        try:
            await asyncio.wait_for(self._work.wait(), IDLE_S)
        except TimeoutError:
            pass
        finally:
            self.idle = False

    async def _rest(self, delay_s: float) -> None:
        """Back off with jitter; a stop cuts it short."""
        for _ in range(max(1, int(delay_s * random.uniform(0.7, 1.3) / 0.05))):  # noqa: S311 - jitter
            if self._stopping:
                break
            await asyncio.sleep(0.05)

    def _failed(self, what: str, error: Exception) -> None:
        self.connected = False
        self.last_error = f"{type(error).__name__}: {error}"[:300]
        if time.monotonic() - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = time.monotonic()
            servers = self._settings.bootstrap_servers
            log.warning("%s %s (%s); events are spooled and delivered later", what, servers, self.last_error)
