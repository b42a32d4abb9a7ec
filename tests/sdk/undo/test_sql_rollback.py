"""SQLite's rollback: back within the open transaction, row by row after the commit, or a step that says why not."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.intercept.recorder import Recorder, governed
from vaultak.intercept import faults, install
from vaultak.undo import UndoLog, sql_tables

install()


def _agent(tmp_path: Path) -> Recorder:
    return Recorder(undo=UndoLog(tmp_path / "undo", "a"))


def test_an_open_transaction_goes_back(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE t(a)")
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
        c.execute("DELETE FROM t")
    assert [s.status for s in recorder.undo.rollback(1)] == ["reversed"]
    assert c.execute("SELECT a FROM t").fetchall() == [(1,)]


def _in_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as e:
            results.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return results[0]


def _statuses(recorder: Recorder, n: int | None = None) -> list[str]:
    return [s.status for s in recorder.undo.rollback(n)]


def test_a_rollback_of_another_thread_is_done_when_it_says_so(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db")
    c.execute("CREATE TABLE t(a)")
    cursor = c.cursor()
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
    assert _in_thread(lambda: _statuses(recorder, 1)) == ["reversed"]
    assert c.execute("SELECT a FROM t").fetchall() == []
    c.execute("BEGIN")
    sqlite3.Cursor.__mro__[1].execute(cursor, "COMMIT")  # type: ignore[attr-defined]
    assert c.execute("SELECT a FROM t").fetchall() == []


def test_another_thread_is_refused_as_ever(tmp_path: Path) -> None:
    c = sqlite3.connect(tmp_path / "db")
    cursor = c.execute("SELECT 1")
    for use in (c.cursor, c.commit, c.rollback, c.close, lambda: c.execute("SELECT 1"), cursor.fetchone,
                cursor.fetchall, lambda: cursor.execute("SELECT 1"), lambda: cursor.execute("SELECT 1")):  # fmt: skip
        error = _in_thread(use)
        assert isinstance(error, sqlite3.ProgrammingError), use
        assert "same thread" in str(error)
    for shared in (sqlite3.connect(":memory:", check_same_thread=False), sqlite3.connect(":memory:", 5, 0, "", False)):
        assert _in_thread(lambda c=shared: c.execute("SELECT 1").fetchone()) == (1,)


@pytest.mark.parametrize("after", ["open", "closed", "gone"])
@pytest.mark.parametrize("isolation", ["", None, "IMMEDIATE"])
@pytest.mark.parametrize("table", ["t(a, b)", "t(a INTEGER PRIMARY KEY, b)", "t(a PRIMARY KEY, b) WITHOUT ROWID"])
def test_what_was_committed_is_put_back(tmp_path: Path, after: str, isolation: Any, table: str) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db", isolation_level=isolation)
    c.execute(f"CREATE TABLE {table}")
    c.executemany("INSERT INTO t VALUES (?, ?)", [(1, "x\0y"), (2, b"z"), (3, 1.5), (4, None)])
    c.commit()
    before = c.execute("SELECT * FROM t ORDER BY a").fetchall()
    with governed(recorder):
        assert c.execute("UPDATE t SET a = a + 10, b = 'new' WHERE a < 3").rowcount == 2
        c.commit()
        assert c.execute("DELETE FROM t WHERE a = 4").rowcount == 1
        c.executemany("INSERT INTO t VALUES (?, ?)", [(5, 0), (6, 0)])
        c.commit()
    c.execute("INSERT INTO t VALUES (99, 'not the agent')")
    c.commit()
    if after == "closed":
        c.close()
    elif after == "gone":
        del c
        gc.collect()
    assert _statuses(recorder) == ["reversed"] * 3
    reader = sqlite3.connect(tmp_path / "db")
    assert reader.execute("SELECT * FROM t ORDER BY a").fetchall() == [*before, (99, "not the agent")]


def test_a_row_changed_since_is_a_conflict_and_stays(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db", isolation_level=None)
    c.execute("CREATE TABLE t(a)")
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
    c.execute("UPDATE t SET a = 2")
    assert _statuses(recorder) == ["conflict"]
    assert c.execute("SELECT a FROM t").fetchall() == [(2,)]


def test_the_hosts_open_transaction_is_a_conflict(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    for name in (":memory:", str(tmp_path / "db")):
        c = sqlite3.connect(name, isolation_level=None)
        c.execute("CREATE TABLE t(a)")
        with governed(recorder):
            c.execute("INSERT INTO t VALUES (1)")
        c.execute("BEGIN IMMEDIATE")
        assert _statuses(recorder) == ["conflict"]
        c.execute("COMMIT")
        assert c.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_commits_and_an_open_transaction_go_back_together(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db")
    c.execute("CREATE TABLE t(a)")
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
        c.commit()
        c.execute("INSERT INTO t VALUES (2)")
        c.rollback()
        c.execute("INSERT INTO t VALUES (3)")
    assert _statuses(recorder) == ["reversed"] * 3
    c.commit()
    assert c.execute("SELECT a FROM t").fetchall() == []


UNDOABLE_NOT = {
    "trigger": ("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO u VALUES (1); END", "INSERT INTO t VALUES (1)"),
    "replace": ("CREATE TABLE v(a UNIQUE ON CONFLICT REPLACE)", "INSERT INTO v VALUES (1)"),
    "or replace": ("SELECT 1", "INSERT OR REPLACE INTO t VALUES (1)"),
    "cascade": (
        "PRAGMA foreign_keys=1; CREATE TABLE p(a PRIMARY KEY);CREATE TABLE k(a REFERENCES p(a) ON DELETE CASCADE)",
        "DELETE FROM p",
    ),
    "table": ("SELECT 1", "DROP TABLE t"),
    "many": (
        "SELECT 1",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 90) INSERT INTO t SELECT i FROM n",
    ),
}


@pytest.mark.parametrize(("setup", "sql"), UNDOABLE_NOT.values(), ids=UNDOABLE_NOT.keys())
def test_what_cannot_be_put_back_says_so(setup: str, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultak.undo.sql_rows.MAX_ROWS", 50)
    monkeypatch.setattr(sql_tables, "MAX_ROWS", 50)
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db")
    c.executescript(f"CREATE TABLE t(a); CREATE TABLE u(a); {setup}")
    with governed(recorder), c:
        c.execute(sql)
    (step,) = recorder.undo.rollback(1)
    assert step.status == "unsupported"
    assert step.detail


STATEMENT = st.sampled_from([
    "INSERT INTO t(b) VALUES (random())", "INSERT INTO t VALUES (NULL, 'x')", "UPDATE t SET b = b || 'y' WHERE a % 2",
    "UPDATE t SET a = -a", "DELETE FROM t WHERE a % 3 = 0", "INSERT OR IGNORE INTO t VALUES (1, 1)",
    "INSERT INTO t VALUES (1, 1) ON CONFLICT (a) DO UPDATE SET b = 7", "INSERT INTO t SELECT NULL, b FROM t LIMIT 3",
    "commit", "rollback", "host",
])  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STATEMENT, max_size=12))
def test_any_sequence_goes_back(tmp_path_factory: pytest.TempPathFactory, statements: list[str]) -> None:
    tmp_path = tmp_path_factory.mktemp("db")
    missed = faults.total()
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db")
    c.executescript("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, 2.5)")
    before = c.execute("SELECT * FROM t").fetchall()
    for statement in statements:
        if statement in ("commit", "rollback"):
            getattr(c, statement)()
        elif statement == "host":
            c.execute("SELECT count(*) FROM t").fetchone()
        else:
            with governed(recorder):
                with contextlib.suppress(sqlite3.IntegrityError):
                    c.execute(statement)
    assert set(_statuses(recorder)) <= {"reversed"}
    c.commit()
    c.close()
    assert sqlite3.connect(tmp_path / "db").execute("SELECT * FROM t").fetchall() == before
    assert faults.total() == missed


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`autocommit` is new in Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_python_3_12_autocommit_is_kept(tmp_path: Path, autocommit: bool) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(tmp_path / "db", autocommit=autocommit)  # type: ignore[call-overload,unused-ignore]
    c.execute("CREATE TABLE t(a)")
    c.commit()
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
        assert c.in_transaction is not autocommit
        c.commit()
        c.execute("INSERT INTO t VALUES (2)")
    assert _statuses(recorder, 1) == ["reversed"]
    c.commit()
    assert c.execute("SELECT a FROM t").fetchall() == [(1,)]
    c.close()
    assert _statuses(recorder, 1) == ["reversed"]
    assert sqlite3.connect(tmp_path / "db").execute("SELECT a FROM t").fetchall() == []
