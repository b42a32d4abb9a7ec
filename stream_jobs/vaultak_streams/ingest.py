"""`vaultak ingest`: recorded events onto the actions topic, as their agents would have sent them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.errors import VaultakError
from vaultak.kafka_clients import client_kwargs
from vaultak.wire import Action, DecodeError, Event, ce_headers, decode_event, derived_uuid7
from vaultak.wire.senders import Sender
from vaultak_streams.recordings import read_lines

log = logging.getLogger("vaultak.ingest")

MAX_IN_FLIGHT = 2_000
"""Events handed to the producer and not yet acknowledged."""

MAX_MESSAGE_BYTES = 1_000_000
"""What the actions topic takes. A longer line is counted, not sent: the broker would refuse its neighbours too."""

REPORT_EVERY = 200

RETRY_FIRST_S = 0.5
RETRY_LONGEST_S = 10.0

POLL_S = 0.2

ASK_AT_ONCE = 1_000
"""Action ids in one question to the store."""


class IngestError(VaultakError):
    """Events that could not be published, or verdicts that did not come."""


class IngestSummary(msgspec.Struct, kw_only=True):
    """What was published, and what became of it."""

    events: int = 0
    actions: int = 0
    unreadable: int = 0
    """Lines that are not events. They are published as they are: the worker puts them on the dead-letter topic."""
    too_large: int = 0
    """Lines longer than the topic takes: not published."""
    verdicts: int = 0
    """Stored when the ingest ended; 0 where nobody waited."""
    elapsed_s: float = 0.0
    events_per_s: float = 0.0
    """Of publishing alone."""


class Progress(msgspec.Struct, frozen=True):
    """How far an ingest is. `total` is what `done` will reach; 0 while it is not known."""

    stage: str
    """`publishing` or `waiting` (for verdicts)."""
    done: int
    total: int


StoredVerdicts = Callable[[list[str]], int]
"""How many of these actions have their verdict in the audit store. Called in a thread; may raise `OSError` or
`VaultakError` while the store is away."""

OnProgress = Callable[[Progress], None]


async def ingest(
    settings: Settings,
    inputs: Iterable[Path],
    *,
    speed: float | None = None,
    stored_verdicts: StoredVerdicts | None = None,
    timeout_s: float = 60.0,
    progress: OnProgress | None = None,
) -> IngestSummary:
    """Publish the events of `inputs`, one file after the other, byte for byte as they were recorded.

    `speed`: the recorded pace divided by this; `None` or 0 as fast as the broker takes them. With `stored_verdicts`
    the call ends when every action's verdict is stored; `timeout_s` is how long it waits without any progress. A
    broker that is away is waited for. Raises `RecordingError` for a file that cannot be read, `IngestError` naming
    what is missing when the time is up.
    """
    summary = IngestSummary()
    report = progress or (lambda _: None)
    action_ids: list[str] = []
    started = time.perf_counter()
    feed = _Feed(settings, speed)
    async with feed:
        for line, event, ts_us in _events(inputs):
            if len(line) > MAX_MESSAGE_BYTES:
                summary.too_large += 1
                continue
            await feed.send(line, event, ts_us)
            summary.events += 1
            if event is None:
                summary.unreadable += 1
            elif isinstance(event, Action):
                action_ids.append(event.action_id)
            if summary.events % REPORT_EVERY == 0:
                report(Progress("publishing", summary.events, 0))
        await feed.flush()
    summary.actions = len(action_ids)
    summary.elapsed_s = time.perf_counter() - started
    summary.events_per_s = summary.events / max(summary.elapsed_s, 1e-9)
    report(Progress("publishing", summary.events, summary.events))
    if stored_verdicts is not None:
        summary.verdicts = await wait_for_verdicts(list(dict.fromkeys(action_ids)), stored_verdicts, timeout_s, report)
        summary.elapsed_s = time.perf_counter() - started
    return summary


def _events(inputs: Iterable[Path]) -> Iterator[tuple[bytes, Event | None, int]]:
    for path in inputs:
        for line in read_lines(path):
            try:
                yield line, *decode_event(line)
            except DecodeError:
                yield line, None, 0


class _Feed:
    """Publishes in order, keeps the pace, and starts again with what was not acknowledged when the broker went away.

    What a restart sends twice is the same bytes: the worker skips it.
    """

    def __init__(self, settings: Settings, speed: float | None) -> None:
        self._settings = settings
        self._sender = Sender.of(settings.api_key)
        self._speed = speed or 0.0
        self._producer: AIOKafkaProducer | None = None
        self._pending: deque[tuple[dict[str, Any], Awaitable[Any]]] = deque()
        self._first: tuple[int, float] | None = None

    async def __aenter__(self) -> _Feed:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, line: bytes, event: Event | None, ts_us: int) -> None:
        if event is not None:
            await self._keep_pace(ts_us)
        message = _message(self._settings.topics.actions, line, event, ts_us)
        if self._sender is not None and "key" in message:
            message["headers"] += self._sender.headers(message["topic"], message["key"], line)
        await self._hand_over(message)
        if len(self._pending) >= MAX_IN_FLIGHT:
            await self._confirm(MAX_IN_FLIGHT // 2)

    async def flush(self) -> None:
        """Wait until everything is acknowledged."""
        await self._confirm(0)

    async def _hand_over(self, message: dict[str, Any]) -> None:
        while True:
            assert self._producer is not None
            try:
                self._pending.append((message, await self._producer.send(**message)))
                return
            except (KafkaError, OSError) as e:
                await self._again(e)

    async def _confirm(self, left: int) -> None:
        while len(self._pending) > left:
            try:
                await self._pending[0][1]
                self._pending.popleft()
            except (KafkaError, OSError) as e:
                await self._again(e)

    async def _again(self, error: Exception) -> None:
        """The broker went away: a new producer, and everything that nobody confirmed once more, in order.

        Raises `IngestError` for what no second try can mend.
        """
        if isinstance(error, KafkaError) and not error.retriable:
            raise IngestError(f"the broker at `{self._settings.bootstrap_servers}` refused an event: {error}")
        log.warning("the broker at `%s` went away (%s)", self._settings.bootstrap_servers, type(error).__name__)
        unconfirmed = [message for message, _ in self._pending]
        self._pending.clear()
        if self._producer is not None:
            await self._producer.stop()
        await self._connect()
        for message in unconfirmed:
            await self._hand_over(message)

    async def _connect(self) -> None:
        wait_s, told = RETRY_FIRST_S, False
        while True:
            producer = AIOKafkaProducer(
                **client_kwargs(self._settings), acks="all", linger_ms=5, max_request_size=8 * 1024 * 1024
            )
            try:
                await producer.start()
                self._producer = producer
                return
            except (KafkaError, OSError) as e:
                await producer.stop()
                if not told:
                    log.warning(
                        "no broker answers at `%s` (%s); trying again until one does",
                        self._settings.bootstrap_servers,
                        type(e).__name__,
                    )
                told = True
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.6, RETRY_LONGEST_S)

    async def _keep_pace(self, ts_us: int) -> None:
        if not self._speed:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = (ts_us, now)
        due = self._first[1] + (ts_us - self._first[0]) / 1e6 / self._speed
        if due > now:
            await asyncio.sleep(due - now)


def _message(topic: str, line: bytes, event: Event | None, ts_us: int) -> dict[str, Any]:
    if event is None:
        return {"topic": topic, "value": line}
    kind = type(event).__name__.lower()
    event_id = event.action_id if isinstance(event, Action) else derived_uuid7(ts_us, kind, line.decode())
    headers = ce_headers(kind, event_id, f"/agents/{event.agent_id}", event.ts)
    return {"topic": topic, "value": line, "key": event.agent_id.encode(), "headers": headers}


async def wait_for_verdicts(
    action_ids: list[str], stored_verdicts: StoredVerdicts, timeout_s: float, report: OnProgress
) -> int:
    """Wait until all these actions have their verdicts in the store; returns how many that are.

    Raises `IngestError` when none is added for `timeout_s`, saying how many are missing.
    """
    total, confirmed, best, trouble = len(action_ids), 0, -1, ""
    deadline = time.monotonic() + timeout_s
    while confirmed < total:
        asked = action_ids[confirmed : confirmed + ASK_AT_ONCE]
        try:
            stored, trouble = await asyncio.to_thread(stored_verdicts, asked), ""
        except (VaultakError, OSError) as e:
            stored, trouble = 0, f" (the store: {e})"
        if confirmed + stored > best:
            best, deadline = confirmed + stored, time.monotonic() + timeout_s
            report(Progress("waiting", best, total))
        if stored >= len(asked):
            confirmed += len(asked)
        elif time.monotonic() > deadline:
            raise IngestError(
                f"{total - best} of {total} verdicts were not stored within {timeout_s:.0f} s{trouble}; do a worker and"
                " a sink run? `vaultak doctor` tells"
            )
        else:
            await asyncio.sleep(POLL_S)
    return total
