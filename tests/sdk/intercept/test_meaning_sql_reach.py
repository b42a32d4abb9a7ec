"""What a statement reaches beside its tables: files of its own, and anything at all when it cannot be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.intercept.recorder import Recorder, governed
from vaultak import ActionBlockedError, ActionType
from vaultak.intercept import install
from vaultak.intercept.sql_files import of_statement
from vaultak.intercept.sql_text import parse
from vaultak.policy import CompiledPolicy, PolicySettings, ResourceMatcher
from vaultak.wire import Decision

install()

FILES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("ATTACH '/x/new' AS n", (), ("/x/new",)),
    ("attach/**/database \"/x/new\" as n", (), ("/x/new",)),
    ("ATTACH ? AS ?", ("/x/new", "n"), ("/x/new",)),
    ("ATTACH ?2 AS ?1", ["n", "/x/new"], ("/x/new",)),
    ("ATTACH :file AS n", {"file": "/x/new", "more": 1}, ("/x/new",)),
    ("ATTACH '/x' || '/' || ? AS n", ("new",), ("/x/new",)),
    ("ATTACH 'file:///x/%6eew?mode=rwc' AS n", (), ("/x/new",)),
    ("ATTACH ':memory:' AS n", (), ()),
    ("ATTACH lower('/x/new') AS n", (), ("/*",)),
    ("ATTACH (SELECT '/x/new') AS n", (), ("/*",)),
    ("ATTACH ? AS n", (Path("/x/new"),), ("/*",)),
    ("SELECT 1; ATTACH '/x/../x/new' AS n", (), ("/x/new",)),
    ("VACUUM INTO '/x/new'", (), ("/x/new",)),
    ("VACUUM main INTO ?", ("/x/new",), ("/x/new",)),
    ("VACUUM", (), ()),
    ("SELECT load_extension('/x/new', 'entry')", (), ("/x/new",)),
    ("SELECT \"load_extension\"(?)", ("/x/new",), ("/x/new",)),
    ("SELECT attach FROM vacuum", (), ()),
    ("SELECT 'ATTACH ''/x/new'' AS n'", (), ()),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "parameters", "files"), FILES)
def test_the_files_of_a_statement(sql: str, parameters: Any, files: tuple[str, ...]) -> None:
    assert of_statement(sql, parameters) == files


@given(st.text().map(lambda text: "ATTACH " + text), st.lists(st.text() | st.integers() | st.none()))
def test_any_text_has_files_or_none(sql: str, parameters: list[Any]) -> None:
    of_statement(sql, parameters)


def _verdict(recorder: Recorder, **settings: Any) -> Decision:
    asked = recorder.asked[-1]
    policy = CompiledPolicy(PolicySettings(max_risk_score=1.0, **settings))
    kind = ActionType(asked.action_type)
    return policy.evaluate(kind, asked.resource, also=asked.payload["resources"], risk=0.0).decision


def test_a_file_policy_stops_a_database_attached_or_copied(tmp_path: Path) -> None:
    recorder = Recorder()
    c = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other = sqlite3.connect(tmp_path / "x.db")
    with governed(recorder):
        for use in (
            lambda: c.execute("ATTACH ? AS n", (str(tmp_path / "x.db"),)),
            lambda: c.execute("VACUUM INTO ?", (str(tmp_path / "y" / ".." / "x.db2"),)),
            lambda: c.backup(other),
        ):
            try:
                use()
            except sqlite3.OperationalError:
                assert recorder.asked[-1].outcome == "error"
            assert _verdict(recorder) is Decision.ALLOW
            assert _verdict(recorder, blocked_resources=(f"{tmp_path}/x*",)) is Decision.BLOCK


def test_a_denied_attach_makes_no_file(tmp_path: Path) -> None:
    c = sqlite3.connect(":memory:")
    with governed(Recorder(denies=lambda kind, _resource: kind == "database_write")), pytest.raises(ActionBlockedError):
        c.execute("ATTACH ? AS n", (str(tmp_path / "new"),))
    assert list(tmp_path.iterdir()) == []


OPAQUE = [
    ("FROBNICATE it", "postgresql"), ("DO $$ BEGIN DELETE FROM users; END $$", "postgresql"),
    ("SELECT 'open", "sqlite"), ("CALL purge()", "postgresql"), ("PREPARE s FROM 'DELETE FROM users'", "mysql"),
    ("SELECT query_to_xml('DELETE FROM users', true, true, '')", "postgresql"),
    ("SELECT * FROM \"dblink\"('x', 'DELETE FROM users')", "postgresql"),
]  # fmt: skip
READABLE = ["SELECT 1", "BEGIN", "COMMIT", "SELECT * FROM orders", "PRAGMA user_version", "VACUUM"]


@pytest.mark.parametrize(("sql", "dialect"), OPAQUE)
def test_what_cannot_be_read_may_reach_any_table(sql: str, dialect: str) -> None:
    assert parse(sql, dialect).opaque


@pytest.mark.parametrize("sql", READABLE)
def test_what_can_be_read_reaches_what_it_names(sql: str) -> None:
    assert not parse(sql, "sqlite").opaque


def test_a_blocked_table_blocks_what_cannot_be_read() -> None:
    recorder = Recorder()
    c = sqlite3.connect(":memory:")
    with governed(recorder):
        with pytest.raises(sqlite3.OperationalError):
            c.execute("FROBNICATE users")
        assert _verdict(recorder, blocked_resources=("db://*/*/users",)) is Decision.BLOCK
        assert _verdict(recorder, blocked_resources=("/etc/*", "tool:*")) is Decision.ALLOW
        c.execute("SELECT 1")
        assert _verdict(recorder, blocked_resources=("db://*/*/users",)) is Decision.ALLOW


def test_any_table_and_any_file_match_patterns_of_their_kind() -> None:
    matcher = ResourceMatcher(["tool:*", "/srv/*", "db://*/*/users"])
    assert (matcher.match("db://*"), matcher.match("/*")) == ("db://*/*/users", "/srv/*")
    assert ResourceMatcher(["tool:*"]).match("db://*") is None
