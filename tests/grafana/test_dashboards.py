"""The dashboards: every panel's SQL on a real ClickHouse that holds a recorded hour, its macros expanded as the data
source's plugin does; and the JSON as Grafana wants it."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from console import recorded
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

GRAFANA = Path(__file__).resolve().parents[2] / "infra" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
PANELS = [
    pytest.param(name, panel, id=f"{name.removeprefix('vaultak-')}-{panel['title']}")
    for name, board in DASHBOARDS.items()
    for panel in board["panels"]
]
NOTHING_RECORDED = {"Dead letters by reason", "Latest dead letters"}
"""Nothing went wrong with a message in the recorded hour."""


@pytest.fixture(scope="module")
def viewer(clickhouse: ClickHouseServer) -> Iterator[Store]:
    """The recorded hour, read as Grafana reads it."""
    name = f"vaultak_{uuid.uuid4().hex[:12]}"
    clickhouse.execute(f"CREATE DATABASE {name}")
    migrate(clickhouse.dsn("admin", name))
    with connect(clickhouse.dsn("writer", name)) as store:
        recorded.store_all(store, recorded.fleet(dt.datetime.now(dt.UTC)))
    with connect(clickhouse.dsn("viewer", name)) as store:
        yield store
    clickhouse.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


def expanded(sql: str, agent: str) -> str:
    """As `grafana-clickhouse-datasource` does it for the last two hours, in steps of a minute."""
    now = int(dt.datetime.now(dt.UTC).timestamp()) + 60
    column = r"\(([\w.]+)\)"
    sql = re.sub(r"\$__timeFilter" + column, rf"\1 >= toDateTime({now - 7200}) AND \1 <= toDateTime({now})", sql)
    sql = re.sub(r"\$__timeInterval" + column, r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)", sql)
    sql = sql.replace("${agent:sqlstring}", "'" + agent.replace("'", "''") + "'")
    assert "$" not in sql, f"what is this? {sql}"
    return sql


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_panel_shows_what_is_stored(viewer: Store, board: str, panel: dict[str, Any]) -> None:
    (target,) = panel["targets"]
    found = viewer.query(expanded(target["rawSql"], recorded.ROGUE))
    if panel["title"] not in NOTHING_RECORDED:
        assert found.rows
        assert any(value is not None for value in found.rows[0])
    if panel["type"] == "timeseries":
        assert next(iter(found.records()[0])) == "time"
        assert all(isinstance(row[0], dt.datetime) for row in found.rows)
        assert found.rows == sorted(found.rows, key=lambda row: row[0])
    if panel["type"] == "stat":
        assert len(found.rows) == len(found.rows[0]) == 1


def test_the_figures_are_those_of_the_store(viewer: Store) -> None:
    panels = {panel["title"]: panel for panel in DASHBOARDS["vaultak-fleet"]["panels"] if panel["type"] == "stat"}
    (stored,) = viewer.query("SELECT count(), uniqExact(agent_id) FROM actions WHERE decision IS NOT NULL").rows
    shown = [
        viewer.query(expanded(panels[t]["targets"][0]["rawSql"], "")).rows[0][0]
        for t in ("Actions", "Agents that acted")
    ]
    assert shown == list(stored)


@pytest.mark.parametrize("agent", [recorded.HOSTILE_AGENT, "x' OR '1' = '1"])
def test_an_agents_name_is_text_and_nothing_else(viewer: Store, agent: str) -> None:
    for panel in DASHBOARDS["vaultak-agent"]["panels"]:
        found = viewer.query(expanded(panel["targets"][0]["rawSql"], agent)).rows
        if agent != recorded.HOSTILE_AGENT and panel["type"] == "table":
            assert found == []


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_as_grafana_wants_it(name: str) -> None:
    board = DASHBOARDS[name]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/vaultak.yaml").read_text())["datasources"]
    assert board["uid"] == name
    assert board["tags"] == ["vaultak"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        sources = {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])}
        assert sources == {source["uid"]}
        assert panel["targets"][0]["format"] == (0 if panel["type"] == "timeseries" else 1)
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        assert not _overlap(one, other)


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    return all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "w"), ("y", "h")))


def test_links_lead_to_dashboards_that_are_there() -> None:
    for text in map(json.dumps, DASHBOARDS.values()):
        assert set(re.findall(r"/d/([\w-]+)", text)) <= set(DASHBOARDS)
