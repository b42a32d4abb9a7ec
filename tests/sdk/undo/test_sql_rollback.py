"""A rollback goes back inside an open transaction; what was committed is said to stay."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from sdk.intercept.recorder import Recorder, governed
from vaultak.intercept import install
from vaultak.undo import UndoLog

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


def test_a_rollback_of_another_thread_holds_before_the_commit(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE t(a)")
    with governed(recorder):
        c.execute("INSERT INTO t VALUES (1)")
    thread = threading.Thread(target=lambda: recorder.undo.rollback(1))
    thread.start()
    thread.join()
    c.commit()
    assert c.execute("SELECT a FROM t").fetchall() == []


def test_what_was_committed_stays_and_the_step_says_so(tmp_path: Path) -> None:
    recorder = _agent(tmp_path)
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE t(a)")
    with governed(recorder), c:
        c.execute("INSERT INTO t VALUES (1)")
    (step,) = recorder.undo.rollback(1)
    assert (step.status, "committed" in step.detail) == ("unsupported", True)
    assert c.execute("SELECT a FROM t").fetchall() == [(1,)]
