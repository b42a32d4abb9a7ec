"""How long `vaultak audit verify` takes over a trail that the SDK emitted and the sink stored, and what the sink adds.

`VAULTAK_BENCH_EVENTS` (default 500,000) events of 1,000 agents: action and outcome in turn, a verdict for each action.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from pathlib import Path

from bench.timing import table
from vaultak.emitter import Emitter
from vaultak.redact import Redactor
from vaultak.wire import ActionType, Decision, Factors, Local, OutcomeStatus, Topics, Verdict, encode, uuid7
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.keys import load_or_create_key
from vaultak_streams.audit.anchor_file import AnchorFile
from vaultak_streams.audit.anchors import heads_of
from vaultak_streams.audit.seals import load_or_create_key as load_or_create_audit_key
from vaultak_streams.audit.seals import seal_block
from vaultak_streams.audit.verify import verify
from vaultak_streams.records import Record
from vaultak_streams.sink.batches import Batch
from vaultak_streams.sink.rows import routes
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

EVENTS = int(os.environ.get("VAULTAK_BENCH_EVENTS", "500000"))
AGENTS = 1000
BATCH = 50_000
TOPICS = Topics()


class Trail:
    """Emits events and verdicts, and stores them as the sink does, with the time that its additions take."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store = store
        self._key = load_or_create_audit_key(data_dir)
        self._anchors = AnchorFile(data_dir, load_or_create_key(data_dir))
        self._records: list[Record] = []
        self.rows, self.verdicts = 0, 0
        self.seal_s, self.anchor_s = 0.0, 0.0

    def emit(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self._records.append(Record(topic, 0, len(self._records), key, value, 0))
        if len(self._records) == BATCH:
            self.flush()

    def flush(self) -> None:
        batch = Batch(routes(TOPICS), dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
        batch.add(self._records)
        self._records.clear()
        started = time.perf_counter()
        blocks = [seal_block(block, self._key) for block in batch.blocks()]
        sealed = time.perf_counter()
        for block in batch.blocks("events_log"):
            self._anchors.note(heads_of(block))
        self._anchors.write()
        self.seal_s += sealed - started
        self.anchor_s += time.perf_counter() - sealed
        for block in blocks:
            self.rows += len(block.rows)
            self._store.insert(block.table, block.names, block.columns())

    def fill(self, events: int) -> None:
        now_s = time.time() - 86_400
        for number in range(AGENTS):
            agent_id = f"agent-{number:04}"
            emitter = Emitter(agent_id, TOPICS.actions, self, Redactor())
            for i in range(events // AGENTS // 2):
                self._act(emitter, agent_id, f"/srv/data/{i % 997}.txt", now_s + i)
        self.flush()

    def _act(self, emitter: Emitter, agent_id: str, resource: str, now_s: float) -> None:
        action_id, local = uuid7(), Local("allow", 0.1)
        payload = {"mode": "w", "flags": "577"}
        ts = emitter.action(action_id, "s-1", now_s, ActionType.FILE_WRITE, resource, payload, local, labels={})
        emitter.outcome(action_id, "s-1", now_s, OutcomeStatus.OK, duration_ms=1.5)
        verdict = Verdict(
            action_id=action_id, agent_id=agent_id, session_id="s-1", ts=ts, scored_ts=ts, risk=0.1,
            factors=Factors(behaviour=0.1), decision=Decision.ALLOW, reasons=(), policy_version="p1",
            model_version="m1", baseline_events=100,
        )  # fmt: skip
        self.verdicts += 1
        self.emit(TOPICS.verdicts, agent_id.encode(), encode(verdict), [])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="vaultak-bench-") as directory:
        data_dir = Path(directory)
        with ClickHouseServer(data_dir / "clickhouse") as server:
            migrate(server.dsn("admin"))
            with connect(server.dsn("admin")) as store:
                _measure(store, data_dir)


def _measure(store: Store, data_dir: Path) -> None:
    trail = Trail(store, data_dir)
    trail.fill(EVENTS)
    per = (trail.seal_s / trail.verdicts * 1e6, trail.anchor_s / (2 * trail.verdicts) * 1e6)
    table(
        "the sink's additions",
        ["what", "us each", "bytes each on disk"],
        [
            ["seal of a verdict", f"{per[0]:.1f}", _column_bytes(store, "verdict_seal", trail.verdicts)],
            ["heads of chains, anchored each batch", f"{per[1]:.2f} an event", "0"],
        ],
    )
    rows = []
    for name, chains_only in (("chains", True), ("chains, anchors, rows, verdicts", False)):
        report = verify(store, data_dir=data_dir, chains_only=chains_only)
        assert report.clean, report.findings[:3]
        rows.append([name, f"{report.events:,}", f"{report.seconds:.1f}", f"{report.events / report.seconds:,.0f}"])
    table("vaultak audit verify", ["what", "events", "s", "events/s"], rows)


def _column_bytes(store: Store, column: str, verdicts: int) -> str:
    store.command("OPTIMIZE TABLE action_parts FINAL")
    sql = (
        "SELECT sum(column_bytes_on_disk) FROM system.parts_columns"
        " WHERE database = currentDatabase() AND table = 'action_parts' AND active AND column = {column:String}"
    )
    return f"{store.query(sql, {'column': column}).rows[0][0] / verdicts:.1f}"


if __name__ == "__main__":
    main()
