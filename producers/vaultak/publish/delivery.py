"""The thread between the queue and the broker: an event loop, a producer, patience."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from vaultak import outside
from vaultak.config import Settings
from vaultak.publish.frames import Message
from vaultak.publish.queues import MemoryQueue, Queue
from vaultak.publish.spool import ORPHANS_AT_ONCE, Spool, orphans

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

log = logging.getLogger("vaultak.publish")

BATCH = 500
IDLE_S = 1.0
ADOPT_EVERY_S = 30.0
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
        self.delivered = self.adopted = self.refused = self.retries = self.corrupt = 0
        self.connected = False
        self.last_error = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Event | None = None
        self._idle = False
        self._stopping = False
        self._complained_at = -COMPLAIN_EVERY_S
        self._thread = threading.Thread(target=self._main, name="vaultak-publisher", daemon=True)

    def start(self) -> None:
        outside.start(self._thread)

    def wake(self) -> None:
        """There is work. Costs a flag's look unless the thread sleeps."""
        if self._idle and self._loop is not None and self._work is not None:
            self._idle = False
            try:
                self._loop.call_soon_threadsafe(self._work.set)
            except RuntimeError:
                return  # the loop has ended

    def stop(self, timeout_s: float = 3.0) -> None:
        self._stopping = True
        self._idle = True
        self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            log.exception("the publisher's thread ended; events stay spooled")

    async def _run(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.Event()
        while not self._stopping:
            producer = await self._connect()
            if producer is None:
                break
            try:
                await self._deliver(producer)
            finally:
                self.connected = False
                await _quietly(producer.stop())

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
                    await _quietly(producer.stop())
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            else:
                self.connected = True
                self.last_error = ""
                return producer
        return None

    async def _deliver(self, producer: AIOKafkaProducer) -> None:
        """Deliver until stopped or until the connection has to be made anew."""
        delay_s, adopt_at = FIRST_RETRY_S, 0.0
        while not self._stopping:
            with self._lock:
                queue: Queue = self._queue if self._queue.pending_bytes else self.overflow
                messages, position = queue.peek(BATCH)
            if not messages and not queue.pending_bytes:
                if time.monotonic() >= adopt_at:
                    more = await self._adopt(producer)
                    adopt_at = time.monotonic() + (0.0 if more else ADOPT_EVERY_S)
                    if more:
                        continue
                await self._wait()
                continue
            try:
                self.refused += await _send(producer, messages)
            except Exception as e:  # noqa: BLE001 - order matters more than the kind of failure: try the same again
                self.retries += 1
                self._failed("cannot deliver to", e)
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
                continue
            delay_s = FIRST_RETRY_S
            self.connected = True
            with self._lock:
                queue.delivered(position)
            self.delivered += len(messages)

    async def _adopt(self, producer: AIOKafkaProducer) -> bool:
        """Deliver what dead processes left behind; whether there may be more of it to take up at once."""
        emptied = 0
        own = self._queue.directory if isinstance(self._queue, Spool) else None
        for orphan in await asyncio.to_thread(orphans, self._settings.spool_dir, own):
            try:
                while not self._stopping:
                    messages, position = orphan.peek(BATCH)
                    if not messages:
                        orphan.delivered(position)
                        emptied += 1
                        break
                    await _send(producer, messages)
                    orphan.delivered(position)
                    self.adopted += len(messages)
            except Exception as e:  # noqa: BLE001 - it stays on disk and is tried again
                self._failed("cannot deliver a dead process's events to", e)
            finally:
                self.passed_over(orphan)
                orphan.close()
        return emptied >= ORPHANS_AT_ONCE

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
        self._idle = True
        if self._queue.pending_bytes or self.overflow.pending_bytes or self._stopping:
            self._idle = False
            return
        try:
            await asyncio.wait_for(self._work.wait(), IDLE_S)
        except TimeoutError:
            pass
        finally:
            self._idle = False

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


async def _send(producer: AIOKafkaProducer, messages: list[Message]) -> int:
    """Send in order and wait for all; returns how many the broker will never take. Raises on what may pass later."""
    from aiokafka.errors import MessageSizeTooLargeError

    pending, refused = [], 0
    for message in messages:
        try:
            pending.append(
                await producer.send(message.topic, message.value, key=message.key, headers=list(message.headers))
            )
        except MessageSizeTooLargeError:
            refused += 1
    for result in await asyncio.gather(*pending, return_exceptions=True):
        if isinstance(result, MessageSizeTooLargeError):
            refused += 1
        elif isinstance(result, BaseException):
            raise result
    return refused


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await asyncio.wait_for(work, 3.0)
    except asyncio.CancelledError:  # aiokafka lets its own tasks' cancellation out
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
    except Exception as e:  # noqa: BLE001 - it is being thrown away
        log.debug("closing: %s", e)
