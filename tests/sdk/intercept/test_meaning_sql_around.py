"""Ways around the governed classes of sqlite3: SQLite itself asks before it prepares a statement."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdk.intercept.recorder import Recorder, governed
from vaultak.intercept import faults, install

install()

BASE_CURSOR: Any = sqlite3.Cursor.__mro__[1]
BASE_CONNECTION: Any = sqlite3.Connection.__mro__[1]


def _recorder() -> Recorder:
    return Recorder(denies=lambda _kind, resource: resource.endswith("/secret"))


def _tables(c: sqlite3.Connection) -> None:
    c.executescript("CREATE TABLE secret(a, b); INSERT INTO secret VALUES (1, 2); CREATE TABLE users(a)")


DENIED = ["DELETE FROM secret", "UPDATE secret SET a = 1, b = 2", "INSERT INTO secret VALUES (3, 4)",
          "DROP TABLE secret", "SELECT a FROM secret", "SELECT * FROM users, secret",
          "ALTER TABLE secret RENAME TO open", "CREATE INDEX i ON secret(a)"]  # fmt: skip


@pytest.mark.parametrize("sql", DENIED)
def test_the_original_classes_do_not_reach_a_denied_table(sql: str) -> None:
    before = faults.total()
    c = sqlite3.connect(":memory:")
    _tables(c)
    for way in (
        lambda: BASE_CURSOR(c).execute(sql),
        lambda: BASE_CURSOR.execute(c.cursor(), sql),
        lambda: BASE_CONNECTION.execute(c, sql),
    ):
        with governed(_recorder()), pytest.raises(sqlite3.DatabaseError, match=r"not authorized|prohibited"):
            way()
    assert c.execute("SELECT * FROM secret").fetchall() == [(1, 2)]
    assert faults.total() == before


def test_each_table_read_and_each_written_is_an_action() -> None:
    c = sqlite3.connect(":memory:")
    c.executescript("CREATE TABLE users(a, b); CREATE TABLE orders(a, b)")
    recorder = _recorder()
    with governed(recorder):
        BASE_CURSOR(c).execute("UPDATE users SET a = b, b = 1 WHERE b = 2")
        BASE_CURSOR(c).execute("SELECT users.a, users.b, orders.a FROM users, orders")
    assert [(a.action_type, a.resource, a.outcome) for a in recorder.asked] == [
        ("database_query", "db://sqlite/:memory:/users", "ok"),
        ("database_write", "db://sqlite/:memory:/users", "ok"),
        ("database_query", "db://sqlite/:memory:/users", "ok"),
        ("database_query", "db://sqlite/:memory:/orders", "ok"),
    ]


def test_a_statement_of_a_governed_class_is_not_judged_twice() -> None:
    c = sqlite3.connect(":memory:")
    recorder = _recorder()
    with governed(recorder):
        c.execute("CREATE TABLE users(a, b)")
        c.execute("SELECT a, b FROM users")
        c.executescript("DELETE FROM users; SELECT 1")
        c.backup(sqlite3.connect(":memory:"))
    assert [a.payload.get("operation") for a in recorder.asked if a.action_type.startswith("database")] == [
        "CREATE", "SELECT", "DELETE", "",
    ]  # fmt: skip


def test_a_factory_that_is_a_function_is_judged(tmp_path: Path) -> None:
    c = sqlite3.connect(tmp_path / "db", factory=lambda *a, **k: BASE_CONNECTION(*a[:1]))  # type: ignore[arg-type]
    _tables(c)
    recorder = _recorder()
    with governed(recorder), pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        c.execute("DELETE FROM secret")
    assert recorder.asked[-1].resource == f"db://sqlite{tmp_path}/db/secret"


def test_the_hosts_authorizer_is_asked_too() -> None:
    c = sqlite3.connect(":memory:")
    _tables(c)
    c.set_authorizer(lambda code, *_: sqlite3.SQLITE_DENY if code == sqlite3.SQLITE_DELETE else sqlite3.SQLITE_OK)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        c.execute("DELETE FROM users")
    with governed(_recorder()), pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        BASE_CURSOR(c).execute("INSERT INTO secret VALUES (1, 2)")
    c.set_authorizer(None)
    c.execute("DELETE FROM users")


EARLIER = """
import sqlite3, sys
sys.path.insert(0, {tests!r})
plain = sqlite3.connect(":memory:", isolation_level=None)
plain.execute("CREATE TABLE secret(a)")
plain.execute("DELETE FROM secret")
refusing = sqlite3.connect(":memory:")
refusing.set_authorizer(lambda code, *_: 1 if code == 9 else 0)
from vaultak.intercept import install
install()
from sdk.intercept.recorder import Recorder, governed
recorder = Recorder(denies=lambda _kind, resource: resource.endswith("/secret"))
for c, use in ((plain, plain), (plain, plain.cursor())):
    with governed(recorder):
        try:
            use.execute("DELETE FROM secret")
        except sqlite3.DatabaseError as e:
            print(e)
refusing.execute("CREATE TABLE t(a)")
try:
    refusing.execute("DELETE FROM t")
except sqlite3.DatabaseError as e:
    print("own:", e)
"""


def test_connections_made_before_the_monitor_are_judged_and_keep_their_own_authorizer() -> None:
    code = EARLIER.format(tests=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["not authorized"] * 2 + ["own: not authorized"]


PYTHONS_OWN = """
import io, unittest
from vaultak.intercept import install
install()
import test.test_sqlite3 as package
suite = package.load_tests(unittest.defaultTestLoader, unittest.TestSuite(), None)
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
located = ("assertEqual(cm.filename", "DeprecationWarning not triggered")
failed = [t.id() for t, e in result.failures + result.errors if not any(l in e for l in located)]
print(result.testsRun > 100, failed)
"""


@pytest.mark.slow
def test_pythons_own_tests_of_sqlite3_pass_under_the_interceptors(tmp_path: Path) -> None:
    """But for the file that deprecation warnings name, from Python 3.12 on."""
    pytest.importorskip("test.test_sqlite3")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PYTHONS_OWN],
        capture_output=True, text=True, timeout=300, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "True []"
