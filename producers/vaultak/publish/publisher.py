"""What the SDK emits, and the thread that gets it to Kafka."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
import weakref

import msgspec

from vaultak.config import Settings
from vaultak.publish.delivery import Delivery
from vaultak.publish.frames import MAX_BODY_BYTES, encode_body
from vaultak.publish.queues import MemoryQueue, Queue
from vaultak.publish.spool import DEFAULT_LIMIT_BYTES, Spool, SpoolFullError
from vaultak.publish.tape import make_tape

log = logging.getLogger("vaultak.publish")

COMPLAIN_EVERY_S = 10.0
EXIT_FLUSH_S = 2.0
"""How long a program that ends waits for the broker; what is left stays on disk for the next run."""


class PublisherStats(msgspec.Struct, frozen=True):
    """Counts since the start of this process (of this child, after a fork)."""

    emitted: int
    delivered: int
    adopted: int
    """Delivered for processes that died before they could."""
    dropped_full: int
    dropped_too_large: int
    corrupt: int
    """Damaged stretches of spools on disk that were passed over; each may have held one message or several."""
    retries: int
    pending_bytes: int
    parked_bytes: int
    """Part of `pending_bytes`: what waits for topics that are missing or forbidden."""
    dropped_parked: int
    """For topics that fail when the place for what waits was full."""
    dropped_orphaned: int
    """Left by dead processes and dropped because all spools together took too much disk."""
    durable: bool
    """False when the disk could not be used and messages wait in memory."""
    connected: bool
    last_error: str


class Publisher:
    """Takes messages from any thread and delivers them in order, at least once.

    `emit` costs microseconds, never waits for the network and never raises. Nothing starts before the first message.
    A queue that is full drops what comes, counts it and says so. Safe across fork: the child gets a queue of its own.
    """

    def __init__(self, settings: Settings, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._settings = settings
        self._limit_bytes = limit_bytes
        self.exit_flush_s = EXIT_FLUSH_S
        self.tape = make_tape()
        """Where a chain may write by itself while there is room; `emit_body` makes room."""
        self._begin()
        _LIVING.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._queue: Queue | None = None
        self._delivery: Delivery | None = None
        self._direct_before = self.tape.direct
        self._emitted = self._dropped_full = self._dropped_too_large = 0
        self._complained_at = 0.0
        self._closed = False

    # -- the agent's side --------------------------------------------------------------------------------------

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Queue one message. A message over 1 MiB and one that finds the queue full are dropped and counted."""
        self.emit_body(encode_body(topic, key, value, headers))

    def emit_body(self, body: bytes) -> None:
        """As `emit`, for a message that is encoded already."""
        with self._lock:
            self._emitted += 1
            if len(body) > MAX_BODY_BYTES:
                self._dropped_too_large += 1
                self._complain(f"a message of {len(body)} bytes is too large for the broker and was dropped")
                return
            try:
                queue = self._queue or self._open()
                queue.append(body)
            except SpoolFullError:
                self._dropped_full += 1
                self._complain(f"the spool is full ({self._limit_bytes} bytes): {self._dropped_full} events dropped")
                return
            except OSError as e:
                self._fall_back(body, e)
        if self._delivery is not None:
            self._delivery.wake()

    def _open(self) -> Queue:
        """The queue, the thread that empties it, and the promise to flush at exit."""
        directory = self._settings.spool_dir / f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            queue: Queue = Spool(directory, limit_bytes=self._limit_bytes, tape=self.tape)
        except OSError as e:
            log.warning(
                "cannot spool to %s (%s): events wait in memory and are lost if this process dies", directory, e
            )
            queue = MemoryQueue()
        self._queue = queue
        self._delivery = Delivery(self._settings, queue, self._lock)
        self.tape.reader = self._delivery
        self._delivery.start()
        atexit.register(self._close_at_exit)
        return queue

    def _fall_back(self, body: bytes, error: OSError) -> None:
        """The disk takes no more: what is on it stays queued there, what comes waits in memory."""
        if self._delivery is None:
            return
        self._complain(f"cannot write the spool ({error}): events wait in memory and are lost if this process dies")
        try:
            self._delivery.overflow.append(body)
        except SpoolFullError:
            self._dropped_full += 1

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.error("%s", text)

    # -- state and end -----------------------------------------------------------------------------------------

    @property
    def stats(self) -> PublisherStats:
        delivery, queue = self._delivery, self._queue
        with self._lock:
            return PublisherStats(
                emitted=self._emitted + self.tape.direct - self._direct_before,
                delivered=delivery.delivered if delivery else 0,
                adopted=delivery.adopted if delivery else 0,
                dropped_full=self._dropped_full,
                dropped_too_large=self._dropped_too_large + (delivery.refused if delivery else 0),
                corrupt=(queue.corrupt if queue else 0)
                + (delivery.corrupt + delivery.parking.corrupt if delivery else 0),
                retries=delivery.retries if delivery else 0,
                pending_bytes=(queue.pending_bytes if queue else 0)
                + (delivery.overflow.pending_bytes + delivery.parking.pending_bytes if delivery else 0),
                parked_bytes=delivery.parking.pending_bytes if delivery else 0,
                dropped_parked=delivery.parking.dropped if delivery else 0,
                dropped_orphaned=delivery.dropped_orphaned if delivery else 0,
                durable=not isinstance(queue, MemoryQueue),
                connected=delivery.connected if delivery else False,
                last_error=delivery.last_error if delivery else "",
            )

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything emitted before has been acknowledged; False when the time was not enough."""
        deadline = time.monotonic() + timeout_s
        while self.stats.pending_bytes:
            if self._delivery is None or time.monotonic() >= deadline:
                return False
            self._delivery.wake()
            time.sleep(0.002)
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush within `timeout_s`, then stop. What could not be delivered stays on disk. Idempotent."""
        with self._lock:
            if self._closed or self._queue is None or self._delivery is None:
                return
            self._closed = True
        if not self.flush(timeout_s) and isinstance(self._queue, Spool):
            log.info("%d bytes of events stay spooled in %s", self._queue.pending_bytes, self._queue.directory)
        atexit.unregister(self._close_at_exit)
        self._delivery.stop()
        with self._lock:
            self._queue.close()
            self._queue = self._delivery = self.tape.reader = None
            self._closed = False

    def _close_at_exit(self) -> None:
        self.close(self.exit_flush_s)

    def after_fork_in_child(self) -> None:
        """Leave the parent's queue to the parent; the child opens its own when it first emits."""
        queue, delivery = self._queue, self._delivery
        self.tape.release()
        self.tape.reader = None
        self._begin()
        if delivery is not None:
            with contextlib.suppress(OSError):
                delivery.after_fork_in_child()
        if isinstance(queue, Spool):
            with contextlib.suppress(OSError):
                queue.abandon()


_LIVING: weakref.WeakSet[Publisher] = weakref.WeakSet()


def living_publishers() -> list[Publisher]:
    """The publishers of this process."""
    return list(_LIVING)


def _after_fork() -> None:
    for publisher in list(_LIVING):
        publisher.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
