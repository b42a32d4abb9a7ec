"""What is stored trains as what was recorded: the same events, agent by agent, those that were stopped marked."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import pytest

from console import recorded
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_models.model import RiskModel
from vaultak_models.training import Gathering
from vaultak_streams.models import sources
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack


@pytest.fixture
def store(clickhouse: ClickHouseServer) -> Iterator[Store]:
    name = f"vaultak_{uuid.uuid4().hex[:12]}"
    clickhouse.execute(f"CREATE DATABASE {name}")
    migrate(clickhouse.dsn("admin", name))
    with connect(clickhouse.dsn("writer", name)) as writer:
        recorded.store_all(writer, recorded.fleet(dt.datetime.now(dt.UTC)))
    with connect(clickhouse.dsn("viewer", name)) as viewer:
        yield viewer
    clickhouse.execute(f"DROP DATABASE IF EXISTS {name} SYNC")


def test_every_stored_event_is_fed_once_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAGE", 7)
    gathering = Gathering(RiskModel.load())
    counted = sources.from_store(gathering, store, "2h")
    ((events, actions),) = store.query("SELECT count(), countIf(kind = 'action') FROM events").rows
    ((stopped, approved),) = store.query(
        "SELECT countIf(a.decision IN ('pause', 'block', 'rollback', 'kill')),"
        " countIf(a.decision IN ('pause', 'block', 'rollback', 'kill') AND (a.agent_id, a.action_id) IN"
        " (SELECT agent_id, action_id FROM commands WHERE command = 'approve')) FROM actions AS a"
    ).rows
    assert counted["unreadable"] == 0
    assert (gathering.counters["events"], gathering.counters["actions"]) == (events, actions)
    assert gathering.counters["bad"] >= stopped - approved > 0


def test_a_window_is_a_window(store: Store) -> None:
    gathering = Gathering(RiskModel.load())
    sources.from_store(gathering, store, "10m")
    ((events,),) = store.query("SELECT count() FROM events WHERE ts >= now() - INTERVAL 10 MINUTE").rows
    assert abs(gathering.counters["events"] - events) <= 2
    assert events > 0
