"""The schema on a replicated cluster: the same migrations, parsed by the real engine.

There is no Keeper here, so that nothing of it is run: the engine reads each statement and says it back.
"""

from __future__ import annotations

import re

import pytest

from vaultak.errors import ConfigurationError
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_streams.store.client import connect
from vaultak_streams.store.cluster import cluster_name, on_cluster
from vaultak_streams.store.errors import MigrationError
from vaultak_streams.store.migrations import LEDGER, available, check_replication, migrate, repeatable

STATEMENTS = [LEDGER, *(repeatable(s) for migration in available() for s in migration.statements)]
NAMES = [" ".join(statement.split()[:6]) for statement in STATEMENTS]
PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"


@pytest.mark.parametrize("statement", STATEMENTS, ids=NAMES)
def test_every_statement_is_said_on_the_cluster_once_with_replicated_engines(statement: str) -> None:
    said = on_cluster(statement, "audit")
    if statement.startswith("INSERT"):
        assert said == statement
        return
    assert said.count(" ON CLUSTER `audit`") == 1
    assert on_cluster(said, "audit") == said
    engines = re.findall(r"ENGINE = (\w+)", said)
    assert len(engines) == len(re.findall(r"ENGINE = ", statement))
    assert all(engine.startswith("Replicated") and engine.endswith("MergeTree") for engine in engines)
    assert "non_replicated" not in said


def test_nothing_else_of_a_statement_changes() -> None:
    statement = """CREATE TABLE IF NOT EXISTS things
(
    id UInt64 COMMENT 'ENGINE = none'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 100"""
    assert (
        on_cluster(statement, "{cluster}")
        == f"""CREATE TABLE IF NOT EXISTS things ON CLUSTER `{{cluster}}`
(
    id UInt64 COMMENT 'ENGINE = none'
)
ENGINE = ReplicatedReplacingMergeTree({PATH}, at)
ORDER BY id
SETTINGS replicated_deduplication_window = 100"""
    )


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP VIEW feed", "DROP VIEW feed ON CLUSTER `c`"),
        ("RENAME TABLE a TO b, c TO d", "RENAME TABLE a TO b, c TO d ON CLUSTER `c`"),
        ("EXCHANGE TABLES a AND b", "EXCHANGE TABLES a AND b ON CLUSTER `c`"),
        ("INSERT INTO a SELECT * FROM b", "INSERT INTO a SELECT * FROM b"),
    ],
)
def test_what_later_migrations_may_say_is_known_too(statement: str, said: str) -> None:
    assert on_cluster(statement, "c") == said


def test_a_statement_that_nobody_thought_of_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule"):
        on_cluster("OPTIMIZE TABLE events_log", "c")


@pytest.mark.parametrize("name", ["", "a b", "a` ; DROP DATABASE x --", "a'", "{", "{a", "1st", "a" * 65, "é", "a\n"])
def test_a_name_that_no_cluster_has_never_reaches_a_statement(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a cluster"):
        cluster_name(name)
    with pytest.raises(ConfigurationError):
        on_cluster(STATEMENTS[0], name)


@pytest.mark.parametrize(
    ("engine", "cluster", "refusal"),
    [
        ("", "", None),
        ("", "audit", None),
        ("ReplacingMergeTree", "", None),
        ("ReplicatedReplacingMergeTree", "audit", None),
        ("ReplacingMergeTree", "audit", "for one server"),
        ("ReplicatedReplacingMergeTree", "", "name it: --cluster"),
    ],
)
def test_a_store_stays_what_it_was_set_up_as(engine: str, cluster: str, refusal: str | None) -> None:
    if refusal is None:
        check_replication(engine, cluster)
        return
    with pytest.raises(MigrationError, match=refusal):
        check_replication(engine, cluster)


@pytest.mark.stack
def test_the_engine_reads_every_statement_with_its_cluster_and_its_replicated_table(
    clickhouse: ClickHouseServer,
) -> None:
    with connect(clickhouse.dsn("viewer")) as store:
        for statement in STATEMENTS:
            said = on_cluster(statement, "audit")
            rows = store.query("SELECT formatQuery({sql:String})", {"sql": said}).rows
            read = str(rows[0][0])
            assert ("ON CLUSTER audit" in read) is (not statement.startswith("INSERT")), read
            assert read.count(f"MergeTree({PATH}") == len(re.findall(r"ENGINE = ", statement)), read


@pytest.mark.stack
def test_a_store_of_one_server_is_not_turned_into_a_cluster_by_an_option(clickhouse_database: object) -> None:
    assert callable(clickhouse_database)
    dsn = clickhouse_database("admin")
    migrate(dsn)
    with pytest.raises(MigrationError, match="for one server"):
        migrate(dsn, cluster="audit")
