"""SQL of governed code is one action a statement, named by its tables, judged before it runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from sdk.intercept.recorder import Recorder, governed
from vaultak import ActionBlockedError
from vaultak.intercept import faults, install
from vaultak.intercept.sql_text import parse

install()

TEXTS = [
    ('SELECT * FROM a u, "B" o JOIN x.y ON 1', "SELECT", {"a", "B", "x.y"}, False),
    ("WITH a AS (SELECT * FROM users) SELECT * FROM a", "SELECT", {"users"}, False),
    ("WITH users AS (SELECT 1) DELETE FROM users", "DELETE", {"users"}, True),
    ("SELECT 1 /* ; */ -- x\n; DROP/**/TABLE users", "DROP", {"users"}, True),
    ("INSERT INTO a(x) SELECT x FROM b", "INSERT", {"a", "b"}, True),
    ("SELECT 'DROP TABLE users'", "SELECT", set(), False),
    ("EXPLAIN ANALYZE DELETE FROM a", "DELETE", {"a"}, True),
    ("WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d", "DELETE", {"a"}, True),
    ("SELECT 'unclosed", "UNKNOWN", set(), True),
    ("FROBNICATE users", "UNKNOWN", set(), True),
]


@pytest.mark.parametrize(("sql", "operation", "tables", "writes"), TEXTS)
def test_a_text_is_read(sql: str, operation: str, tables: set[str], writes: bool) -> None:
    read = parse(sql, "postgresql")
    assert (read.operation, set(read.tables), read.writes) == (operation, tables, writes)


@given(st.text(), st.sampled_from(["sqlite", "mysql", "postgresql", "other"]))
def test_any_text_is_read(sql: str, dialect: str) -> None:
    parse(sql, dialect)


NAMES = st.sampled_from(["users", "orders", '"Mixed"', "crm.users"])


@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from([", ", " JOIN ", " /* from z */ CROSS JOIN "]))
def test_no_table_that_a_full_parser_finds_is_missed(names: list[str], joined: str) -> None:
    sql = f"SELECT * FROM {joined.join(names)} WHERE a IN (SELECT b FROM {names[0]})"
    tree = sqlglot.parse_one(sql, read="postgres")
    full = {".".join(filter(None, (t.db, t.name))) for t in tree.find_all(sqlglot.exp.Table)}
    assert full <= set(parse(sql, "postgresql").tables)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    before = faults.total()
    yield Recorder(denies=lambda _type, resource: resource.endswith("/secret"))
    assert faults.total() == before, faults


Way = Callable[[sqlite3.Connection, str], object]
WAYS: dict[str, Way] = {
    "connection": lambda c, sql: c.execute(sql),
    "cursor": lambda c, sql: c.cursor().execute(sql),
    "executemany": lambda c, sql: c.executemany(sql, [()]),
    "executescript": lambda c, sql: c.executescript(sql),
    "cursor class": lambda c, sql: sqlite3.Cursor(c).execute(sql),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_is_one_action_and_a_denied_table_stays(way: Way, recorder: Recorder) -> None:
    class Own(sqlite3.Connection):
        pass

    for factory in (sqlite3.Connection, Own):
        c = sqlite3.connect(":memory:", factory=factory)
        c.executescript("CREATE TABLE secret(a); CREATE TABLE users(a)")
        recorder.asked.clear()
        with governed(recorder):
            way(c, "INSERT INTO users VALUES (1)")
            with pytest.raises(ActionBlockedError):
                way(c, "DELETE FROM secret")
        assert [(a.action_type, a.resource) for a in recorder.asked] == [
            ("database_write", "db://sqlite/:memory:/users"),
            ("database_write", "db://sqlite/:memory:/secret"),
        ]
        assert recorder.asked[0].outcome == "ok"
        assert c.execute("SELECT count(*) FROM users").fetchone() == (1,)
        c.close()
