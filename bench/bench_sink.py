"""From messages to rows in ClickHouse, beside a bare insert of the same columns; bytes on disk for an action.

The sink's own loop is measured, from the fetch to the commit; then its steps, one after the other.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bench.timing import processor_s, say, table
from vaultak.config import Settings
from vaultak.emitter import Emitter
from vaultak.redact import Redactor
from vaultak.wire import (
    ActionType,
    Decision,
    Factors,
    Local,
    OutcomeStatus,
    Topics,
    Verdict,
    encode,
    format_ts,
    uuid7,
)
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.audit.anchoring import Seals
from vaultak_streams.garbage import collect_rarely
from vaultak_streams.records import Record
from vaultak_streams.sink.__main__ import SWITCH_INTERVAL_S
from vaultak_streams.sink.batches import Batch
from vaultak_streams.sink.rows import routes
from vaultak_streams.sink.sink import Sink
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

ACTIONS = 16_700
"""Of a batch: an action, its outcome and its verdict are 50,100 messages."""
BATCHES = 8
AGENTS = 50
TOPICS = Topics("bench")
PARTS = ("events_log", "action_parts")


def main() -> None:
    batches = [_messages(n) for n in range(BATCHES)]
    collect_rarely()  # as the sink's process does, and the next
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with tempfile.TemporaryDirectory() as folder:
        server = ClickHouseServer(Path(folder))
        server.start()
        try:
            _measure(server, batches, Path(folder))
        finally:
            server.stop()


def _measure(server: ClickHouseServer, batches: list[list[Record]], folder: Path) -> None:
    migrate(server.dsn("admin"))
    with connect(server.dsn("admin")) as admin, connect(server.dsn("writer")) as writer:
        parts = {"decode": 0.0, "seal": 0.0, "columns": 0.0, "insert": 0.0}
        bare, rows = [], 0
        for records in batches:
            columns = _in_steps(writer, records, Seals(folder), parts)
            bare.append(_bare(admin, columns))
            rows = sum(len(data[0]) for *_, data in columns)
        for name in PARTS:
            admin.command(f"TRUNCATE TABLE {name}")
        cpu = time.process_time(), processor_s(server.pids)
        whole_s = asyncio.run(_by_the_sink(server.dsn("writer"), folder, batches))
        own_us = (time.process_time() - cpu[0]) / BATCHES / ACTIONS * 1e6
        server_us = (processor_s(server.pids) - cpu[1]) / BATCHES / ACTIONS * 1e6
        assert admin.query("SELECT count() FROM actions").rows[0][0] == ACTIONS * BATCHES
        bare_s = sum(sorted(bare)[1:-1]) / (BATCHES - 2)
        table(
            f"{BATCHES} batches of {ACTIONS * 3:,} messages, {rows:,} rows",
            ["what", "rows/s", "messages/s", "of the bare insert"],
            [
                ["bare columnar insert", *_rates(bare_s, rows), "1.00"],
                ["the sink: decode, seal, insert", *_rates(whole_s, rows), f"{bare_s / whole_s:.2f}"],
            ],
        )
        total = sum(parts.values())
        say(
            f"one step after the other {rows * BATCHES / total:,.0f} rows/s: "
            + ", ".join(f"{name} {spent / total:.0%}" for name, spent in parts.items())
        )
        kinds = {r.topic: 0 for r in batches[0]}
        for r in batches[0]:
            kinds[r.topic] += len(r.value or b"")
        wire = ", ".join(f"{name.rpartition('.')[2]} {size / ACTIONS:,.0f} bytes" for name, size in kinds.items())
        say(f"for each action: sink {own_us:.0f} us of a processor, ClickHouse {server_us:.0f} us; {wire}")
        _sizes(admin)


Columns = list[tuple[str, Sequence[str], Sequence[Sequence[object]]]]


def _in_steps(writer: Store, records: list[Record], seals: Seals, parts: dict[str, float]) -> Columns:
    """What the sink does with one batch, a step at a time."""
    clock = [time.perf_counter()]
    batch = Batch(routes(TOPICS), dt.datetime.now(dt.UTC))
    batch.add(records)
    clock.append(time.perf_counter())
    blocks = list(map(seals.sealed, batch.blocks()))
    clock.append(time.perf_counter())
    columns: Columns = [(block.table, block.names, block.columns()) for block in blocks]
    clock.append(time.perf_counter())
    for name, names, data in columns:
        writer.insert(name, names, data)
    clock.append(time.perf_counter())
    for part, (start, end) in zip(parts, pairwise(clock), strict=True):
        parts[part] += end - start
    return columns


class _Given:
    """A consumer that has everything at hand: what is measured is the sink."""

    def __init__(self, sink: Sink, batches: list[list[Record]]) -> None:
        self._sink = sink
        self._left = [self._fetched(records) for records in reversed(batches)]
        self.commits: list[float] = []

    @staticmethod
    def _fetched(records: list[Record]) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]] = {}
        for r in records:
            value = r.value or b""
            made = ConsumerRecord(
                r.topic, r.partition, r.offset, r.ts_ms, 0, r.key, value, None, len(r.key or b""), len(value), ()
            )
            fetched.setdefault(TopicPartition(r.topic, r.partition), []).append(made)
        return fetched

    async def getmany(self, **_: object) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        if self._left:
            return self._left.pop()
        self._sink.stop()
        return {}

    async def commit(self, _: object) -> None:
        self.commits.append(time.perf_counter())

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset()


async def _by_the_sink(dsn: str, folder: Path, batches: list[list[Record]]) -> float:
    """Seconds per batch: its own loop, in which one batch is decoded while the one before is inserted."""
    sink = Sink(Settings.from_env({"VAULTAK_DATA_DIR": str(folder), "VAULTAK_TOPIC_PREFIX": TOPICS.prefix}), dsn)
    consumer = _Given(sink, batches)
    await sink.follow(cast(AIOKafkaConsumer, consumer))
    assert len(consumer.commits) == BATCHES
    return (consumer.commits[-1] - consumer.commits[0]) / (BATCHES - 1)


def _rates(batch_s: float, rows: int) -> list[int]:
    return [round(rows / batch_s), round(ACTIONS * 3 / batch_s)]


def _bare(admin: Store, columns: Columns) -> float:
    """The same columns into tables alike that nothing hangs on."""
    for name in {name for name, *_ in columns}:
        admin.command(f"DROP TABLE IF EXISTS bare_{name}")
        admin.command(f"CREATE TABLE bare_{name} AS {name}")
    started = time.perf_counter()
    for name, names, data in columns:
        admin.insert(f"bare_{name}", names, data)
    return time.perf_counter() - started


def _sizes(admin: Store) -> None:
    """Once everything is merged."""
    for name in PARTS:
        admin.command(f"OPTIMIZE TABLE {name} FINAL")
    sizes = "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active GROUP BY table"
    found = dict(admin.query(sizes).rows)
    actions = ACTIONS * BATCHES
    table(
        "on disk, all indexes included",
        ["table", "bytes per action"],
        [[name, round(found[name] / actions, 1)] for name in (*PARTS, "agent_minutes_log")],
    )


def _messages(batch: int) -> list[Record]:
    """What the SDK and the worker publish for actions that differ as those of real agents do."""
    publisher = _Collected()
    emitters = [Emitter(f"agent-{n}", TOPICS.actions, publisher, Redactor()) for n in range(AGENTS)]
    verdicts = []
    for n in range(ACTIONS):
        emitter, action_id, now = emitters[n % AGENTS], uuid7(), time.time()
        number = batch * ACTIONS + n
        kind, resource, payload = _KINDS[number % len(_KINDS)](number)
        local = Local(Decision.ALLOW, 0.1, (), "p-1")
        emitter.action(
            action_id, f"s-{batch}-{n % AGENTS}", now, kind, resource, payload, local, labels={}, assurance="hook"
        )
        emitter.outcome(action_id, f"s-{batch}-{n % AGENTS}", now, OutcomeStatus.OK, duration_ms=0.2 + number % 97 / 10)
        risk = number % 1000 / 1000
        verdict = Verdict(
            action_id=action_id, agent_id=emitter.agent_id, session_id=f"s-{batch}-{n % AGENTS}", ts=format_ts(now),
            scored_ts=format_ts(now + 0.004), risk=risk,
            factors=Factors(destructiveness=0.3, sensitivity=0.2, payload=risk / 2, rate=0.1, behaviour=risk),
            decision=Decision.ALLOW, policy_version="p-1", model_version="m-1", baseline_events=number,
        )  # fmt: skip
        verdicts.append(encode(verdict))
    now_ms = int(time.time() * 1000)
    records = [Record(TOPICS.actions, 0, n, None, value, now_ms) for n, value in enumerate(publisher.values)]
    return records + [Record(TOPICS.verdicts, 0, n, None, value, now_ms) for n, value in enumerate(verdicts)]


_KINDS = (
    lambda n: (ActionType.FILE_READ, f"/srv/data/{n % 5000}/report.csv", {"op": "open", "mode": "r"}),
    lambda n: (
        ActionType.TOOL_CALL,
        "tool:search",
        {"tool": "search", "arguments": {"query": f"order {n * 7919 % 99991}"}},
    ),
    lambda n: (ActionType.NETWORK_REQUEST, f"https://api{n % 50}.example/v1/{n % 9973}", {"method": "GET"}),
    lambda n: (ActionType.DATABASE_QUERY, "db://pg/shop/orders", {"sql": f"SELECT * FROM orders WHERE id = {n}"}),
)


class _Collected:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def emit(self, _topic: str, _key: bytes, value: bytes, _headers: object) -> None:
        self.values.append(value)
