"""The stream job: batches in, results out, and the order of acknowledgements that makes a crash harmless.

1. What a step led to (commands, verdicts, dead letters) is acknowledged by the brokers,
2. then the changed profiles are, in the changelog,
3. then the offsets are committed.
Whatever happens in between, records that come again are either skipped by the profile's `applied_offset` (their
verdicts are out) or judged again from the very same profile (the same verdicts).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol

from vaultak_streams.agents.changelog import Changelog
from vaultak_streams.agents.publisher import Publisher
from vaultak_streams.agents.sequence import OffsetSequence
from vaultak_streams.agents.status import WorkerStatus
from vaultak_streams.agents.transport import Batch, Inbox
from vaultak_streams.metrics.worker import WorkerMeter
from vaultak_streams.pipeline.engine import P
from vaultak_streams.pipeline.shard import Shard
from vaultak_streams.pipeline.step import Pipeline
from vaultak_streams.records import Record

log = logging.getLogger("vaultak.worker")

MAX_OUTSTANDING = 20_000
"""Deliveries without an answer. Beyond it judging waits, so that a slow broker is felt and memory stays bounded."""

REVOKE_TIMEOUT_S = 20.0


class Source(Protocol):
    """What the job asks of its consumer."""

    async def start_offsets(self, partitions: Iterable[int]) -> dict[int, int]: ...

    async def commit_offsets(self, offsets: dict[int, int]) -> object: ...

    def fetched(self) -> dict[int, tuple[int, int]]: ...


class _Snapshot(NamedTuple):
    """What one checkpoint has to make durable: taken at one moment, between two steps."""

    deliveries: list[Awaitable[Any]]
    states: dict[int, list[tuple[str, bytes | None]]]
    offsets: dict[int, int]


class StreamJob(Generic[P]):
    """Owns the shards of the partitions this worker holds. All methods run on one event loop."""

    def __init__(
        self,
        pipeline: Pipeline[P],
        load_profile: Callable[[bytes], P],
        publisher: Publisher,
        changelog: Changelog,
        inbox: Inbox,
        actions_topic: str,
        ready: Callable[[], Awaitable[Any]],
        source: Callable[[], Source],
        status: WorkerStatus,
        *,
        checkpoint_s: float,
        meter: WorkerMeter | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._load_profile = load_profile
        self._publisher = publisher
        self._changelog = changelog
        self._inbox = inbox
        self._actions_topic = actions_topic
        self._ready = ready
        self._source = source
        self._status = status
        self._checkpoint_s = checkpoint_s
        self._meter = meter or WorkerMeter()
        self._shards: dict[int, Shard[P]] = {}
        self._offsets: dict[int, int] = {}
        self._sequence = OffsetSequence(inbox.rewinds)
        self._active = asyncio.Event()
        self._suspects: dict[int, int] = {}
        self._stale: set[int] = set()
        self._newly_assigned = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def run(self) -> None:
        """Judge batches and make checkpoints until cancelled. Raises what goes wrong: the worker then starts anew
        from what the changelog and the committed offsets say."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._consume())
            tasks.create_task(self._restore_ahead())
            tasks.create_task(self._checkpoints())

    def assigned(self, partitions: Iterable[int]) -> None:
        """These are our partitions now."""
        mine = set(partitions)
        for partition in set(self._shards) - mine:
            del self._shards[partition]
            self._changelog.forget([partition])
        for partition in mine - set(self._shards):
            self._shards[partition] = Shard(partition, self._load_profile)
        self._stale = mine
        self._offsets.clear()
        self._sequence.start({})
        self._status.partitions = sorted(mine)
        self._active.set()
        self._newly_assigned.set()

    async def revoked(self) -> None:
        """The partitions may go to someone else: finish the step under way and make it durable.

        What waits in the inbox is dropped; it comes again. If this fails, the shards are forgotten: they may know
        more than is written, and the changelog is what counts. Raises `TimeoutError` when a step does not end.
        """
        self._active.clear()
        self._inbox.clear()
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                await self.settle()
        except TimeoutError:
            raise
        except Exception as e:  # noqa: BLE001 - whatever it was, the state is safe without it
            why = f"{type(e).__name__}: {e}"
            log.warning("partitions given up without a checkpoint (%s); their last events come again", why)
            self._changelog.forget(list(self._shards))
            self._shards.clear()

    def lag(self) -> int:
        """Records that wait in this worker's partitions, as of the last fetch of each."""
        fetched = self._source().fetched()
        return sum(max(0, end - (self._sequence.position(p) or end)) for p, (_, end) in fetched.items())

    async def settle(self) -> None:
        """A checkpoint now: when it returns, all that was judged is durable and committed."""
        async with self._settling:
            async with self._stepping:
                snapshot = self._snapshot()
            await self._make_durable(snapshot)

    async def _consume(self) -> None:
        while True:
            batch = await self._inbox.get()
            await self._room.wait()
            await self._active.wait()
            async with self._stepping:
                await self._restore()
                await self._step(batch)

    async def _restore_ahead(self) -> None:
        """As soon as partitions are assigned, so that the first event on them does not wait for it."""
        while True:
            await self._newly_assigned.wait()
            self._newly_assigned.clear()
            async with self._stepping:
                if self._active.is_set():
                    await self._restore()

    async def _restore(self) -> None:
        """Before the first step on newly assigned partitions: what is known of their agents."""
        if not self._stale:
            return
        self._status.state = "restoring"
        started = time.monotonic()
        await self._ready()
        shards = {partition: self._shards[partition] for partition in self._stale}
        ends = await self._changelog.restore(shards, self._actions_topic)
        if rewound := sum(shard.rewind(ends[partition]) for partition, shard in shards.items()):
            log.warning("`%s` was made anew: %d agents count from its beginning", self._actions_topic, rewound)
        self._sequence.start(await self._source().start_offsets(self._stale))
        self._stale = set()
        self._status.state = "running"
        log.info("profiles of %d agents restored in %.2f s", sum(map(len, shards.values())), time.monotonic() - started)

    async def _step(self, batch: Batch) -> None:
        for partition, records in batch.records.items():
            shard = self._shards.get(partition)
            if shard is not None and (due := self._sequence.admit(partition, records, batch.fetch_round)):
                await self._judge(shard, due)

    async def _judge(self, shard: Shard[P], records: list[Record]) -> None:
        started = time.perf_counter()
        result = self._pipeline.process(records, shard, time.time_ns() // 1000)
        self._meter.step.observe(time.perf_counter() - started)
        await self._publisher.publish(result)
        self._meter.judged(records, time.time() * 1000)
        self._offsets[shard.partition] = records[-1].offset + 1
        self._status.count(result.counters)
        if result.commands:
            self._wake.set()
        if self._publisher.outstanding > MAX_OUTSTANDING:
            self._room.clear()
            self._wake.set()

    async def _checkpoints(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._checkpoint_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            await self.settle()
            self._room.set()
            self._look_for_lost()

    def _look_for_lost(self) -> None:
        """What was fetched and never arrived, with nothing behind it that would show the gap: have it read again.

        Seen twice in a row with nothing under way, a second or so apart, it is not on its way any more.
        """
        suspects: dict[int, int] = {}
        if self._active.is_set() and not self._stale and self._inbox.empty() and not self._stepping.locked():
            for partition, (position, _) in self._source().fetched().items():
                due = self._sequence.position(partition)
                if due is not None and position > due:
                    suspects[partition] = due
        for partition, due in suspects.items():
            if self._suspects.get(partition) == due:
                self._sequence.again(partition)
        self._suspects = suspects

    def _snapshot(self) -> _Snapshot:
        states = {partition: shard.drain() for partition, shard in self._shards.items() if shard.dirty}
        offsets, self._offsets = self._offsets, {}
        for counters in (self._sequence.counters, self._changelog.counters):
            self._status.count(counters)
            counters.clear()
        self._status.agents = sum(map(len, self._shards.values()))
        return _Snapshot(self._publisher.take(), states, offsets)

    async def _make_durable(self, snapshot: _Snapshot) -> None:
        for delivery in snapshot.deliveries:
            await delivery
        written = {
            partition: await self._publisher.save(self._changelog.topic, partition, entries)
            for partition, entries in snapshot.states.items()
        }
        for partition, deliveries in written.items():
            for delivery in deliveries:
                self._changelog.written(partition, (await delivery).offset)
        if snapshot.offsets:
            await self._source().commit_offsets(snapshot.offsets)
            self._status.count({"checkpoints": 1})
