"""Six panels of the dashboards over stored actions, a million or `VAULTAK_BENCH_ROWS`, beside a bare count of them.

The actions lie a millisecond apart, of 200 agents; the panels show the last hour of them, in steps of 15 s, as Grafana
does on a wide screen.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path

from bench.bench_backtest import AGENTS, fill
from bench.timing import Sample, compare
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

RUNS = 9
DASHBOARDS = Path(__file__).parents[1] / "infra" / "grafana" / "dashboards"
PANELS = (
    ("vaultak-fleet", "stat", "Actions"),
    ("vaultak-fleet", "timeseries", "Actions"),
    ("vaultak-fleet", "timeseries", "Highest risk"),
    ("vaultak-fleet", "table", "Agents"),
    ("vaultak-agent", "timeseries", "Actions"),
    ("vaultak-agent", "table", "Timeline"),
)


def main() -> None:
    rows = int(os.environ.get("VAULTAK_BENCH_ROWS", "1000000"))
    with tempfile.TemporaryDirectory() as folder:
        server = ClickHouseServer(Path(folder))
        server.start()
        try:
            migrate(server.dsn("admin"))
            with connect(server.dsn("admin")) as admin, connect(server.dsn("viewer")) as viewer:
                fill(admin, rows)
                samples = [_timed(viewer, "count", "SELECT count() FROM action_parts WHERE action_type IS NOT NULL")]
                samples += [
                    _timed(viewer, f"{board[8:]}: {title} ({kind})", _sql(board, kind, title))
                    for board, kind, title in PANELS
                ]
        finally:
            server.stop()
    compare(f"dashboards over {rows:,} stored actions, us", samples, baseline="count")


def _sql(board: str, kind: str, title: str) -> str:
    panels = json.loads((DASHBOARDS / f"{board}.json").read_text())["panels"]
    (panel,) = [panel for panel in panels if (panel["type"], panel["title"]) == (kind, title)]
    now = int(time.time())
    sql = re.sub(
        r"\$__timeFilter\(([\w.]+)\)",
        rf"\1 >= toDateTime({now - 3600}) AND \1 <= toDateTime({now})",
        panel["targets"][0]["rawSql"],
    )
    sql = re.sub(r"\$__timeInterval\(([\w.]+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 15 second)", sql)
    return sql.replace("${agent:sqlstring}", f"'agent-{AGENTS // 2}'")


def _timed(viewer: Store, name: str, sql: str) -> Sample:
    values = []
    for _ in range(RUNS):
        started = time.perf_counter()
        assert viewer.query(sql).rows
        values.append((time.perf_counter() - started) * 1e6)
    return Sample(name, sorted(values))
