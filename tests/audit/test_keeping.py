"""Retention, legal hold, backup and restore. On a real ClickHouse."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from audit.recorded import Recorder, store_records
from vaultak.errors import ConfigurationError
from vaultak_streams.audit.backup import NotEmptyError, back_up, restore
from vaultak_streams.audit.retention import hold, holds, parse_days, release, retention, set_retention
from vaultak_streams.audit.verify import verify
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.migrations import migrate

Dsn = Callable[..., str]

TABLES = ("events_log", "action_parts")
VIEWS = ("events", "actions", "agent_minutes", "policy_versions", "agents", "legal_holds")


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("1", 1), ("forever", None)])
def test_a_retention_is_days_or_forever(text: str, days: int | None) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "0d", "-1d", "2w", "99999d", "9999999d", "1d; DROP"])
def test_what_is_no_retention_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="retention"):
        parse_days(text)


def counts(store: Store, names: tuple[str, ...] = VIEWS) -> dict[str, int]:
    return {name: store.query(f"SELECT count() FROM {name}").rows[0][0] for name in names}


def agents_left(store: Store, table: str) -> set[str]:
    store.command(f"OPTIMIZE TABLE {table} FINAL")
    return {row[0] for row in store.query(f"SELECT DISTINCT agent_id FROM {table}").rows}


@pytest.mark.stack
def test_old_rows_go_but_those_on_hold_stay(clickhouse_database: Dsn) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    now = dt.datetime.now(dt.UTC)
    for agent, days_ago in (("old", 100), ("o'held\\", 100), ("young", 1)):
        recorder = Recorder()
        recorder.act(agent)
        store_records(dsn, recorder.records, now - dt.timedelta(days=days_ago))
    with connect(dsn) as store:
        assert retention(store).days == 400
        hold(store, "o'held\\", reason="case 17", by="ana")
        set_retention(store, 90)
        assert retention(store).days == 90
        assert retention(store).held == ("o'held\\",)
        assert [agents_left(store, table) for table in TABLES] == [{"o'held\\", "young"}] * 2
        assert holds(store).records()[0]["reason"] == "case 17"
        release(store, "o'held\\", reason="closed", by="bob")
        assert holds(store).rows == []
        assert [agents_left(store, table) for table in TABLES] == [{"young"}] * 2
        set_retention(store, None)
        set_retention(store, None)
        assert retention(store).days is None
        with pytest.raises(ConfigurationError, match="not on hold"):
            release(store, "young", reason="", by="bob")


@pytest.mark.stack
def test_what_expired_is_no_finding(clickhouse_database: Dsn) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    for _ in range(4):
        recorder.act("ada")
    now = dt.datetime.now(dt.UTC)
    store_records(dsn, recorder.records[:6], now - dt.timedelta(days=100))
    store_records(dsn, recorder.records[6:])
    with connect(dsn) as store:
        ledger = "INSERT INTO schema_migrations SELECT version, name, sha256, applied_at - toIntervalDay(300)"
        store.command(f"{ledger} FROM schema_migrations")
        set_retention(store, 90)
        for table in TABLES:
            agents_left(store, table)
        assert counts(store, ("events",)) == {"events": 4}
        assert verify(store).findings == []


@pytest.mark.stack
def test_a_backup_restored_into_an_empty_store_is_the_same_and_clean(
    clickhouse_database: Dsn, clickhouse: object
) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    recorder = Recorder()
    for number in range(20):
        recorder.act(f"agent-{number % 3}")
    store_records(dsn, recorder.records)
    name = f"b-{dsn.rpartition('/')[2]}"
    with connect(dsn) as store:
        set_retention(store, 30)
        hold(store, "agent-1", reason="case", by="ana")
        before = counts(store)
        assert back_up(store, name).rows > 0
        recorder.records.clear()
        recorder.act("late")
        store_records(dsn, recorder.records)
        after = counts(store)
        assert back_up(store, f"{name}-more", base=name).bytes < back_up(store, f"{name}-full").bytes
        with pytest.raises(NotEmptyError):
            restore(store, name)
    for backup, expected in ((name, before), (f"{name}-more", after)):
        target = f"{dsn}_{'r' if backup == name else 's'}"
        database = target.rpartition("/")[2]
        clickhouse.execute(f"CREATE DATABASE {database}")  # type: ignore[attr-defined]
        try:
            if backup == name:
                migrate(target)
            with connect(target) as store:
                restore(store, backup, source=dsn.rpartition("/")[2])
                assert counts(store) == expected
                assert verify(store).findings == []
                assert migrate(target) == []
        finally:
            clickhouse.execute(f"DROP DATABASE {database} SYNC")  # type: ignore[attr-defined]


@pytest.mark.stack
@pytest.mark.parametrize("name", ["", "../x", "a'b", "x" * 200])
def test_a_name_that_is_none_is_refused(clickhouse_database: Dsn, name: str) -> None:
    with connect(clickhouse_database("admin")) as store, pytest.raises(ConfigurationError, match="no name"):
        back_up(store, name)
