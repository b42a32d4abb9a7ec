"""The shipped policy tried on stored actions, a million or `VAULTAK_BENCH_ROWS`, beside reading what it reads."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.timing import Sample, compare, say
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.backtest import backtest_store
from vaultak_streams.policy import bundle_from
from vaultak_streams.policy.init import starting_policy
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

STEP = 250_000
RUNS = 5
AGENTS = 200

# What agents do, in eight kinds; one file in 5,000 is a secret, one action in ten was stopped by its risk.
FILL = """
INSERT INTO action_parts (agent_id, action_id, session_id, ts, ingested_at, ingested_day, instance, seq, action_type,
    resource, payload, labels, assurance, local_decision, local_risk, risk, destructiveness, sensitivity, decision,
    rules, policy_version, model_version, baseline_events, outcome_status)
SELECT concat('agent-', toString(number % {agents:UInt64})),
    concat(lower(hex(toUInt64(1790000000000 + number))), '-', lower(hex(cityHash64(number)))),
    concat('s-', toString(intDiv(number, 500))), now64(6) - toIntervalMillisecond(number), now64(3), today(),
    'i', number,
    ['file_read', 'file_read', 'file_write', 'network_request', 'tool_call', 'database_query', 'process_spawn',
     'file_delete'][cityHash64(number) % 8 + 1] AS kind,
    multiIf(
        kind = 'tool_call', concat('tool:', ['search', 'send_email', 'get_user', 'update'][number % 4 + 1]),
        kind = 'network_request', concat('https://api', toString(number % 50), '.example/v1/', toString(number % 9973)),
        kind = 'database_query', concat('db://pg/shop/orders', toString(number % 20)),
        kind = 'process_spawn', concat('process:/usr/bin/', ['git', 'python3', 'ls', 'curl'][number % 4 + 1]),
        concat('/srv/data/', toString(number % 5000), if(cityHash64(number, 9) % 5000 = 0, '/.env', '/file.csv'))),
    multiIf(
        kind = 'process_spawn', concat('{"argv":["git","status","', lower(hex(cityHash64(number))), '"]}'),
        kind = 'database_query',
        concat('{"sql":"SELECT * FROM o WHERE id = ', toString(number), '","operations":["select"],"predicate":true}'),
        concat('{"n":', toString(number), ',"text":"', lower(hex(cityHash64(number))), hex(sipHash64(number)), '"}')),
    '{"role":"assistant"}', 'hook', 'allow', 0.1, (cityHash64(number, 3) % 1000) / 1000 AS r, 0.3, 0.2,
    if(r > 0.9, 'pause', 'allow'), if(r > 0.9, '["max_risk_score"]', '[]'), 'p', 'm', number, 'ok'
FROM numbers({start:UInt64}, {step:UInt64})
"""
READ = "SELECT sum(length(resource) + length(payload)), uniqExact(sipHash64(agent_id, action_id)) FROM action_parts"


def fill(admin: Store, rows: int) -> None:
    """Store so many actions, a millisecond apart, the newest now."""
    for start in range(0, rows, STEP):
        admin.command(FILL, {"agents": AGENTS, "start": start, "step": min(STEP, rows - start)})


def _timed(name: str, run: Callable[[], object]) -> Sample:
    values = []
    for _ in range(RUNS):
        started = time.perf_counter()
        run()
        values.append((time.perf_counter() - started) * 1e6)
    return Sample(name, sorted(values))


def main() -> None:
    rows = int(os.environ.get("VAULTAK_BENCH_ROWS", "1000000"))
    bundle = bundle_from([("shipped", starting_policy())])
    with tempfile.TemporaryDirectory() as folder:
        server = ClickHouseServer(Path(folder))
        server.start()
        try:
            migrate(server.dsn("admin"))
            with connect(server.dsn("admin")) as admin, connect(server.dsn("viewer")) as viewer:
                fill(admin, rows)
                report = backtest_store(viewer, bundle)
                assert report.actions == rows
                read = _timed("reading and counting", lambda: viewer.query(READ))
                judged = _timed("back-test", lambda: backtest_store(viewer, bundle))
        finally:
            server.stop()
    compare(f"back-test: {len(bundle.rules)} rules over {rows:,} stored actions", [read, judged], baseline=read.name)
    say(f"\n{report.newly_stopped:,} actions more would be stopped; {rows / judged.median * 1e6:,.0f} actions/s")
