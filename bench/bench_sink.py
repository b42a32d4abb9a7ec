"""From messages to rows in ClickHouse, beside a bare insert of the same columns; bytes on disk for an action.

`decode, seal, insert` is what the sink does with a batch between the fetch and the commit.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bench.timing import say, table
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
from vaultak_streams.sink.batches import Batch, alike, columns_of
from vaultak_streams.sink.rows import routes
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

ACTIONS = 16_700
"""Of a batch: an action, its outcome and its verdict are 50,100 messages."""
BATCHES = 6
AGENTS = 50
TOPICS = Topics("bench")
PARTS = ("events_log", "action_parts")


def main() -> None:
    batches = [_messages(n) for n in range(BATCHES)]
    collect_rarely()  # as the sink's process does
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
        seals, bare, whole, parts = Seals(folder), [], [], {"decode": 0.0, "seal": 0.0, "columns": 0.0, "insert": 0.0}
        rows = 0
        for records in batches:
            clock = [time.perf_counter()]
            batch = Batch(routes(TOPICS), dt.datetime.now(dt.UTC))
            batch.add(records)
            clock.append(time.perf_counter())
            seals.seal(batch.tables().get("action_parts", []))
            clock.append(time.perf_counter())
            columns = [(name, *columns_of(group)) for name, found in batch.tables().items() for group in alike(found)]
            clock.append(time.perf_counter())
            for name, names, data in columns:
                writer.insert(name, names, data)
            clock.append(time.perf_counter())
            for part, (start, end) in zip(parts, pairwise(clock), strict=True):
                parts[part] += end - start
            whole.append(clock[-1] - clock[0])
            rows = sum(map(len, batch.tables().values()))
            bare.append(_bare(admin, columns))
        assert admin.query("SELECT count() FROM actions").rows[0][0] == ACTIONS * BATCHES
        of = sorted(bare)[len(bare) // 2] / sorted(whole)[len(whole) // 2]
        table(
            f"one batch: {ACTIONS * 3:,} messages, {rows:,} rows",
            ["what", "rows/s", "messages/s", "of the bare insert"],
            [
                ["bare columnar insert", *_rates(bare, rows), "1.00"],
                ["decode, seal, insert", *_rates(whole, rows), f"{of:.2f}"],
            ],
        )
        total = sum(parts.values())
        say("where the time goes: " + ", ".join(f"{name} {spent / total:.0%}" for name, spent in parts.items()))
        _sizes(admin)


def _rates(seconds: list[float], rows: int) -> list[int]:
    median = sorted(seconds)[len(seconds) // 2]
    return [round(rows / median), round(ACTIONS * 3 / median)]


def _bare(admin: Store, columns: list[tuple[str, list[str], list[Sequence[object]]]]) -> float:
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
