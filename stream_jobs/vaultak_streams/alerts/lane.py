"""The way to one destination: a bounded queue, paced, tried again until it arrives or is given up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec
import structlog

from vaultak_streams.alerts.destination import DeliveryError
from vaultak_streams.alerts.notice import Notice
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.pace import Pace
from vaultak_streams.alerts.wording import Message, worded

log = structlog.get_logger("vaultak.alerts")

MAX_WAITING = 1_000
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0


class Delivers(Protocol):
    """A destination, as a lane sees it."""

    name: str

    def deliver(self, message: Message) -> None: ...


class LaneStatus(msgspec.Struct, kw_only=True):
    """How one destination does: counts of messages since the start, but for `told` and `dropped`: of notices."""

    destination: str
    delivered: int = 0
    told: int = 0
    """Notices in the delivered messages."""
    retried: int = 0
    failed: int = 0
    """Given up."""
    dropped: int = 0
    """Notices that the queue could not hold; the next message says how many."""
    waiting: int = 0
    last_error: str = ""
    """Why the last attempt failed; empty once one succeeded."""
    last_delivered_s: float = 0.0
    """Epoch seconds."""


class Lane:
    """One destination. `put` from the event loop; `run` delivers until cancelled, in order."""

    def __init__(self, destination: Delivers, options: AlertOptions, now_s: Callable[[], float] = time.time) -> None:
        self.status = LaneStatus(destination=destination.name)
        self._destination, self._options, self._now_s = destination, options, now_s
        self._pace = Pace(options.per_minute, options.burst)
        self._queue: deque[Notice] = deque()
        self._dropped = 0
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "vaultak-alert")
        """Its own: services that hang hold up nothing but themselves."""
        self._in_hand: list[Notice] = []
        self.first_retry_s = FIRST_RETRY_S

    def put(self, notice: Notice) -> None:
        """Queue a notice. Where the queue is full the notice is counted instead, and the next message says so."""
        if len(self._queue) >= MAX_WAITING:
            self._dropped += 1
            self.status.dropped += 1
        else:
            self._queue.append(notice)
        self.status.waiting = len(self.undelivered)
        self._more.set()

    @property
    def undelivered(self) -> list[Notice]:
        """What was neither delivered nor given up yet, the oldest first."""
        return [*self._in_hand, *self._queue]

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        try:
            await self._run()
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            await asyncio.sleep(self._pace.wait_s(self._now_s()))
            self._in_hand, dropped = self._take()
            try:
                await self._deliver(worded(self._in_hand, dropped, self._options.console))
            except Exception:
                self.status.failed += 1
                log.exception("an alert could not be delivered", to=self._destination.name)
            self._in_hand = []
            self.status.waiting = len(self._queue)
            if not self._queue and not self._dropped:
                self._more.clear()

    def _take(self) -> tuple[list[Notice], int]:
        """All that waits while the pace left no more single messages; else one."""
        self._pace.spend()
        crowded = self._dropped > 0 or self._pace.wait_s(self._now_s()) > 0
        notices = [self._queue.popleft() for _ in range(len(self._queue) if crowded else 1)]
        dropped, self._dropped = (self._dropped, 0) if crowded else (0, self._dropped)
        return notices, dropped

    async def _deliver(self, message: Message) -> None:
        until_s, delay_s = self._now_s() + self._options.give_up_s, self.first_retry_s
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._destination.deliver, message)
            except DeliveryError as e:
                self.status.last_error = str(e)
                if self._now_s() + delay_s > until_s:
                    self.status.failed += 1
                    log.error("an alert was given up", to=self._destination.name, title=message.title, error=str(e))
                    break
                self.status.retried += 1
                log.warning("an alert was not taken; trying again", to=self._destination.name, error=str(e))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            else:
                self.status.delivered += 1
                self.status.told += len(self._in_hand)
                self.status.last_error, self.status.last_delivered_s = "", self._now_s()
                break
