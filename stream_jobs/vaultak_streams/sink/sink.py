"""The sink's loop: fetch, insert, commit. Patient with a store that is away, never with a wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs, end_client, fetch_wait_ms
from vaultak_streams.audit.anchor_topic import AnchorTopic
from vaultak_streams.audit.anchoring import Anchors, Seals
from vaultak_streams.metrics.sink import SinkMeter
from vaultak_streams.records import Record
from vaultak_streams.senders import Senders
from vaultak_streams.sink.batches import Batch, Block
from vaultak_streams.sink.rows import Row, routes, shaped
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.errors import StoreError, StoreRejectedError, StoreUnavailableError

log = structlog.get_logger("vaultak.sink")

MAX_BATCH = 50_000
POLL_MS = 200
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0
STATUS_EVERY_S = 1.0
SESSION_TIMEOUT_MS = 6_000
MAX_POLL_INTERVAL_MS = 24 * 3600 * 1000
"""A store may be away for long; the records wait in Kafka, the partitions stay ours."""


Fetched = Mapping[TopicPartition, list[ConsumerRecord]]


class SinkStats(msgspec.Struct):
    """How the sink does: where it stands, and counts since its start."""

    name: str = "sink"
    state: str = "starting"
    records: int = 0
    rows: int = 0
    batches: int = 0
    undecodable: int = 0
    unstorable: int = 0
    store_retries: int = 0
    anchors: int = 0
    anchor_errors: int = 0
    lag: int = 0
    store_up: bool = True


def sink_status_path(settings: Settings) -> Path:
    """Where the sink tells how it goes, for `vaultak doctor`."""
    return settings.data_dir / "status" / "sink.json"


class Sink:
    """Moves all topics of a deployment into the store until told to stop."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        self._settings = settings
        self._dsn = dsn
        self._routes = routes(settings.topics)
        self._group = f"{settings.topics.prefix}.sink"
        self._status_path = sink_status_path(settings)
        self._stopping = asyncio.Event()
        self._store: Store | None = None
        self._anchors = Anchors(settings.data_dir)
        self._topic = AnchorTopic(settings)
        self._seals = Seals(settings.data_dir)
        self._senders = Senders.required(settings)
        self.stats = SinkStats()
        self.meter = SinkMeter()
        self._status_at = time.monotonic()

    def stop(self) -> None:
        """Finish the batch in hand, then end. Safe to call from a signal handler of the loop."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`. Reconnects to the broker as often as needed."""
        delay_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            consumer = self._consumer()
            try:
                await consumer.start()
                log.info("following", topics=len(self._routes), broker=self._settings.bootstrap_servers)
                delay_s = FIRST_RETRY_S
                self.stats.state = "running"
                await self.follow(consumer)
            except (KafkaError, OSError) as e:
                self.stats.state = "waiting"
                self._write_status()
                log.warning("the broker does not answer; trying again", error=str(e), in_s=delay_s)
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
            finally:
                await end_client(consumer)
        await self._anchor(finally_=True)
        await self._topic.close()
        self.stats.state = "stopped"
        self._write_status()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            *self._routes,
            **client_kwargs(self._settings),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=SESSION_TIMEOUT_MS // 3,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            fetch_max_wait_ms=fetch_wait_ms(self._settings),
            fetch_max_bytes=32 * 1024 * 1024,
        )

    async def follow(self, consumer: AIOKafkaConsumer) -> None:
        """Store what comes, until told to stop. While one batch is being inserted the next is read and decoded."""
        storing: asyncio.Task[bool] | None = None
        actions = self._settings.topics.actions
        try:
            while not self._stopping.is_set():
                fetched: Fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_BATCH)
                if self._status_is_due():
                    self.stats.lag = await _lag(consumer)
                    self._write_status()
                batch = Batch(self._routes, dt.datetime.now(dt.UTC))
                for partition, records in fetched.items():
                    batch.add(_records(partition, records, self._senders if partition.topic == actions else None))
                if storing is not None:
                    before, storing = storing, None
                    if not await before:
                        return
                if fetched:
                    storing = asyncio.create_task(self._keep(consumer, fetched, batch))
                    await asyncio.sleep(0)  # so that it begins before the next batch is decoded
                else:
                    await self._anchor()
        finally:
            if storing is not None:
                await storing

    async def _keep(self, consumer: AIOKafkaConsumer, fetched: Fetched, batch: Batch) -> bool:
        """Seal, insert, anchor, commit, in this order; False when stopped before the insert was done."""
        blocks = [self._seals.sealed(block) for block in batch.blocks()]
        started = time.perf_counter()
        if not await self._store_all(blocks):
            return False
        self.meter.insert.observe(time.perf_counter() - started)
        self._anchors.note(batch.blocks("events_log"))
        await self._anchor()
        try:
            await consumer.commit({partition: records[-1].offset + 1 for partition, records in fetched.items()})
        except (CommitFailedError, IllegalStateError):
            log.info("a rebalance came first: these records come again, and change nothing")
        self._count(batch, blocks)
        newest_ms = max(records[-1].timestamp or 0 for records in fetched.values())
        self.meter.latency.observe(time.time() - newest_ms / 1000)
        return True

    async def _anchor(self, *, finally_: bool = False) -> None:
        """Say outside the store how far the agents' chains have come, when that is due or the last chance."""
        if finally_ or self._anchors.due:
            if lines := await asyncio.to_thread(self._anchors.write):
                await self._topic.publish(self._anchors.name, lines)
            self.stats.anchors = self._anchors.written
            self.stats.anchor_errors = self._anchors.errors + self._topic.errors

    def _count(self, batch: Batch, blocks: list[Block]) -> None:
        self.stats.records += batch.records
        self.stats.rows += sum(len(block.rows) for block in blocks)
        self.stats.batches += 1
        self.stats.undecodable += batch.undecodable

    def not_ready(self) -> str:
        """Why it stores nothing now; empty: it does."""
        if self.stats.state != "running":
            return self.stats.state
        return "" if self.stats.store_up else "ClickHouse is away"

    def silent_s(self) -> float:
        """Seconds since it last said how it does."""
        return time.monotonic() - self._status_at

    # -- storing -----------------------------------------------------------------------------------------------

    async def _store_all(self, blocks: list[Block]) -> bool:
        """Insert every block, however long that takes; False when stopped before."""
        left, delay_s = deque(blocks), FIRST_RETRY_S
        while left:
            try:
                # All in one go, so that the loop, busy with the next batch, need not be asked in between.
                await asyncio.to_thread(self._insert_each, left)
                self.stats.store_up = True
            except StoreUnavailableError as e:
                if self._stopping.is_set():
                    return False
                self._drop_connection()
                log.warning("nothing is stored meanwhile, nothing is lost", error=str(e), in_s=round(delay_s, 1))
                self.stats.store_up = False
                self.stats.store_retries += 1
                self._write_status()
                await self._rest(delay_s)
                delay_s = min(delay_s * 2, LAST_RETRY_S)
        return True

    def _insert_each(self, left: deque[Block]) -> None:
        """What is left when this raises has not been inserted, or not for certain."""
        while left:
            self._insert(left[0])
            left.popleft()

    def _insert(self, block: Block) -> None:
        """Insert; when the store refuses a block, find out which rows it refuses and keep those apart."""
        if self._store is None:
            self._store = connect(self._dsn)
        try:
            self._store.insert(block.table, block.names, block.columns())
        except StoreRejectedError as e:
            if not self._is_about_rows():
                raise StoreUnavailableError(f"{block.table}: {e}") from None
            self._insert_halves(block, e)
        except (TypeError, ValueError, OverflowError, AttributeError) as e:  # the driver cannot encode a value
            self._insert_halves(block, StoreError(f"{type(e).__name__}: {e}"))

    def _insert_halves(self, block: Block, error: StoreError) -> None:
        if len(block.rows) == 1:
            self._set_aside(block, error)
            return
        for half in block.halves():
            self._insert(half)

    def _is_about_rows(self) -> bool:
        """Whether the store is otherwise well: its schema there, its user allowed to write."""
        assert self._store is not None
        try:
            self._store.query("SELECT count() FROM schema_migrations")
        except StoreError:
            return False
        return True

    def _set_aside(self, block: Block, error: StoreError) -> None:
        """The row of a block of one, that cannot be stored, is counted and kept as a dead letter."""
        self.stats.unstorable += 1
        table, row = block.table, dict(zip(block.names, block.rows[0], strict=True))
        log.error("a row cannot be stored", table=table, error=str(error))
        if table == "dead_letters_log" or self._store is None:
            return
        now = dt.datetime.now(dt.UTC)
        letter: Row = {
            "reason": "unstorable",
            "detail": f"{table}: {error}"[:1000],
            "topic": str(row.get("topic", table)),
            "partition": row.get("partition", 0),
            "offset": row.get("offset", 0),
            "ts": now,
            "key_base64": "",
            "value_base64": "",
            "value_bytes": 0,
            "value_truncated": True,
            "value_sha256": "",
            "ingested_at": now,
        }
        shape, members = shaped("dead_letters_log", letter)
        self._insert(Block(shape.table, shape.columns, [members]))

    def _drop_connection(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(Exception):
                store.close()

    # -- what others see ---------------------------------------------------------------------------------------

    def _status_is_due(self) -> bool:
        return time.monotonic() - self._status_at >= STATUS_EVERY_S

    def _write_status(self) -> None:
        self._status_at = time.monotonic()
        write_status(self._status_path, msgspec.to_builtins(self.stats))

    async def _rest(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay_s)


def _records(partition: TopicPartition, records: list[ConsumerRecord], senders: Senders | None) -> list[Record]:
    topic, number = partition.topic, partition.partition
    if senders is None:
        return [Record(topic, number, r.offset, r.key, r.value, r.timestamp or 0) for r in records]
    check = senders.objection
    return [
        Record(topic, number, r.offset, r.key, r.value, r.timestamp or 0, check(topic, r.key, r.value, r.headers))
        for r in records
    ]


async def _lag(consumer: AIOKafkaConsumer) -> int:
    """Records behind the ends that the last fetches told; a partition not fetched yet counts as none."""
    ends = {partition: consumer.highwater(partition) for partition in consumer.assignment()}
    return sum([end - await consumer.position(partition) for partition, end in ends.items() if end is not None])


def write_status(path: Path, status: dict[str, Any]) -> None:
    """Say how it goes, for `vaultak doctor`: atomically, and never a reason to stop."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(status))
        temporary.replace(path)
