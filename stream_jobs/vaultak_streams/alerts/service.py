"""The alerts' loop: follow the incidents, tell of what is new, commit once it was told or given up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError

from vaultak.config import Settings
from vaultak.kafka_clients import LOCAL_FETCH_WAIT_MS, client_kwargs, end_client, fetch_wait_ms
from vaultak.wire import Incident
from vaultak.wire.timestamps import parse_ts
from vaultak_streams.alerts.lane import Delivers, Lane, LaneStatus
from vaultak_streams.alerts.ledger import Ledger, Page
from vaultak_streams.alerts.notice import Cases
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.sink.sink import write_status

log = structlog.get_logger("vaultak.alerts")

POLL_MS = 500
STATUS_EVERY_S = 1.0
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0
SESSION_TIMEOUT_MS, LOCAL_SESSION_TIMEOUT_MS = 10_000, 6_000
"""The embedded broker lets one who comes after a crash wait for more than two of these; Kafka takes no less."""

_decoder = msgspec.json.Decoder(Incident)


class AlertStatus(msgspec.Struct, kw_only=True):
    """How the alerts do: for `vaultak alerts status`, `vaultak doctor`, the console and metrics."""

    name: str = "alerts"
    state: str = "starting"
    detail: str = ""
    records: int = 0
    """Messages read from the incidents topic."""
    notices: int = 0
    """Those that had to be told."""
    stale: int = 0
    """Too old to be told when they were read."""
    undecodable: int = 0
    destinations: list[LaneStatus] = []


def alert_status_path(settings: Settings) -> Path:
    return settings.data_dir / "status" / "alerts.json"


class Alerts:
    """Tells every destination of every incident once; a crash right after a delivery may repeat that one.

    Alone per deployment or several: they share a consumer group, and an agent's incidents keep to one of them.
    """

    def __init__(self, settings: Settings, options: AlertOptions, destinations: Sequence[Delivers]) -> None:
        self._settings, self._options = settings, options
        self._lanes = [Lane(destination, options) for destination in destinations]
        self._ledger = Ledger(settings.data_dir / "alerts" / "told.json")
        page = self._ledger.load()
        self._cases = Cases(options.least, page.told)
        self._kept = b""
        for lane in self._lanes:
            for notice in page.waiting.get(lane.status.destination, []):
                lane.put(notice)
        self._stopping = asyncio.Event()
        self._told_at = time.monotonic()
        self.status = AlertStatus(destinations=[lane.status for lane in self._lanes])

    def stop(self) -> None:
        """End soon. Safe to call from a signal handler of the loop."""
        self._stopping.set()

    def not_ready(self) -> str:
        """Why it tells nothing now; empty: it does."""
        return "" if self.status.state == "running" else self.status.state

    def silent_s(self) -> float:
        """Seconds since it last said how it does."""
        return time.monotonic() - self._told_at

    async def run(self) -> None:
        """Run until `stop`. Reconnects to the broker as often as needed."""
        workers = [asyncio.create_task(lane.run()) for lane in self._lanes]
        delay_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            consumer = self._consumer()
            try:
                await consumer.start()
                self.status.state, delay_s = "running", FIRST_RETRY_S
                self._tell_status()
                await self._follow(consumer)
            except (KafkaError, OSError) as e:
                self.status.state = "waiting"
                self._tell_status()
                log.warning("the broker does not answer; trying again", error=str(e), in_s=delay_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            finally:
                await end_client(consumer)
        for worker in workers:
            worker.cancel()
        await self._keep()
        await asyncio.gather(*workers, return_exceptions=True)
        self.status.state = "stopped"
        self._tell_status()

    def _consumer(self) -> AIOKafkaConsumer:
        wait_ms = fetch_wait_ms(self._settings)
        session_ms = LOCAL_SESSION_TIMEOUT_MS if wait_ms == LOCAL_FETCH_WAIT_MS else SESSION_TIMEOUT_MS
        return AIOKafkaConsumer(
            self._settings.topics.incidents,
            **client_kwargs(self._settings),
            group_id=f"{self._settings.topics.prefix}.alerts",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            fetch_max_wait_ms=wait_ms,
        )

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            for records in fetched.values():
                for record in records:
                    self._take(record.value)
            await self._keep()
            if fetched:
                await self._commit(consumer)
            if time.monotonic() - self._told_at > STATUS_EVERY_S:
                self._tell_status()

    async def _keep(self) -> None:
        """Put on disk what was told and what waits, where that changed."""
        waiting = {lane.status.destination: lane.undelivered for lane in self._lanes}
        content = msgspec.json.encode(Page(told=list(self._cases.items()), waiting=waiting))
        if content != self._kept:
            await asyncio.to_thread(self._ledger.save, content)
            self._kept = content

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        try:
            await consumer.commit()
        except CommitFailedError:
            log.info("a rebalance came first: these incidents come again, and are not told again")

    def _take(self, value: bytes | None) -> None:
        self.status.records += 1
        try:
            incident = _decoder.decode(value or b"")
            age_s = time.time() - parse_ts(incident.ts)
        except (msgspec.MsgspecError, ValueError):
            self.status.undecodable += 1  # the sink keeps it as a dead letter
            return
        if age_s > self._options.max_age_s:
            self.status.stale += 1
            return
        if notice := self._cases.notice(incident):
            self.status.notices += 1
            for lane in self._lanes:
                lane.put(notice)

    def _tell_status(self) -> None:
        self._told_at = time.monotonic()
        states = [lane.status for lane in self._lanes]
        self.status.detail = "; ".join(f"{s.destination}: {s.last_error}" for s in states if s.last_error)[:500]
        write_status(alert_status_path(self._settings), msgspec.to_builtins(self.status))
