"""The store's edges: DSNs, migrations, who may do what. On a real ClickHouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vaultak.errors import ConfigurationError
from vaultak_streams.store import queries
from vaultak_streams.store.client import connect, parse_dsn
from vaultak_streams.store.errors import MigrationError, StoreRejectedError, StoreUnavailableError
from vaultak_streams.store.migrations import available, migrate, repeatable

Dsn = Callable[..., str]


def test_a_dsn_says_where_and_who() -> None:
    options = parse_dsn("clickhouses://ana:p%40ss@db.example:9440/audit?verify=0")
    assert options == {
        "host": "db.example",
        "port": 9440,
        "username": "ana",
        "password": "p@ss",
        "database": "audit",
        "secure": True,
        "verify": False,
    }
    assert parse_dsn("http://localhost")["port"] == 8123
    assert parse_dsn("https://localhost")["port"] == 8443


@pytest.mark.parametrize(
    "dsn", ["", "ftp://x", "clickhouse://", "clickhouse://h:port", "clickhouse://u:hunter2@h:99999"]
)
def test_a_wrong_dsn_is_refused_without_telling_the_password(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="VAULTAK_CLICKHOUSE_DSN") as caught:
        parse_dsn(dsn)
    assert "hunter2" not in str(caught.value)


def test_a_store_that_is_away_is_one_line_without_the_password() -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        connect("clickhouse://u:hunter2@127.0.0.1:1/v")
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_migrations_are_numbered_without_gaps_and_repeatable() -> None:
    found = available()
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    for migration in found:
        for statement in map(repeatable, migration.statements):
            assert statement.startswith(("CREATE ", "ALTER TABLE "))
            assert " IF NOT EXISTS " in statement or statement.startswith("CREATE OR REPLACE VIEW ")


@pytest.mark.stack
def test_migrations_apply_once_and_a_changed_one_is_refused(clickhouse_database: Dsn, tmp_path: Path) -> None:
    dsn = clickhouse_database("admin")
    assert [name[:4] for name in migrate(dsn)] == [f"{n:04}" for n in range(1, len(available()) + 1)]
    assert migrate(dsn) == []
    for migration in available():
        (tmp_path / f"{migration.name}.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="0001_events"):
        migrate(dsn, tmp_path)


@pytest.mark.stack
def test_a_migration_that_was_cut_short_is_finished(clickhouse_database: Dsn) -> None:
    dsn = clickhouse_database("admin")
    with connect(dsn) as store:
        store.command(repeatable(available()[0].statements[0]))
    assert len(migrate(dsn)) == len(available())


@pytest.mark.stack
def test_a_newer_schema_is_refused(clickhouse_database: Dsn, tmp_path: Path) -> None:
    dsn = clickhouse_database("admin")
    migrate(dsn)
    with pytest.raises(MigrationError, match="this version of Vaultak"):
        migrate(dsn, tmp_path)


@pytest.mark.stack
def test_a_viewer_may_read_and_nothing_else(clickhouse_database: Dsn) -> None:
    migrate(clickhouse_database("admin"))
    with connect(clickhouse_database("viewer")) as store:
        assert queries.audit_query(store, queries.AuditFilters()).rows == []
        for sql in (
            "DROP TABLE events_log",
            "INSERT INTO acks_log (agent_id) VALUES ('x')",
            "SELECT * FROM file('/etc/passwd')",
        ):
            with pytest.raises(StoreRejectedError):
                store.command(sql)


@pytest.mark.stack
def test_what_is_asked_for_is_data_never_sql(clickhouse_database: Dsn) -> None:
    migrate(clickhouse_database("admin"))
    with connect(clickhouse_database("viewer")) as store:
        hostile = "x' OR 1=1; DROP TABLE events_log; --"
        filters = queries.AuditFilters(agent_id=hostile, session_id=hostile, text=hostile, action_type=hostile)
        assert queries.audit_query(store, filters).rows == []
        assert queries.stored_verdicts(store, [hostile]) == 0


@pytest.mark.parametrize("text", ["yesterday", "5 parsecs", "2026-13-01"])
def test_a_time_that_is_none_names_the_option(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--since"):
        queries.moment("--since", text)
