"""Undo where it gets difficult: kill -9, torn journals, others' changes, limits, compensations."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdk.undo.trees import build, snapshot
from vaultak import Vaultak
from vaultak.testing import RecordingPublisher
from vaultak.undo import UndoLimits, UndoLog
from vaultak.undo.places import orphans
from vaultak.wire import Outcome

TESTS = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    build(tree)
    return tree


@pytest.fixture
def undo(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo" / "i", "agent")


def delete(undo: UndoLog, action_id: str, path: Path) -> None:
    undo.before_delete(action_id, str(path))
    path.unlink()
    undo.after(action_id)


def overwrite(undo: UndoLog, action_id: str, path: Path, text: str) -> None:
    undo.before_write(action_id, str(path))
    path.write_text(text)
    undo.after(action_id)


def test_what_someone_else_put_there_since_is_never_overwritten(undo: UndoLog, root: Path) -> None:
    delete(undo, "1", root / "a")
    (root / "a").write_text("someone else's")
    overwrite(undo, "2", root / "b", "mine")
    (root / "b").unlink()
    (root / "b").write_text("theirs")
    overwrite(undo, "3", root / "new", "mine")
    (root / "new").unlink()
    (root / "new").write_text("theirs too")
    assert [(r.target, r.status) for r in undo.rollback()] == [
        (str(root / "new"), "conflict"),
        (str(root / "b"), "conflict"),
        (str(root / "a"), "conflict"),
    ]
    assert (root / "a").read_text() == "someone else's"
    assert (root / "b").read_text() == "theirs"
    assert (root / "new").read_text() == "theirs too"


def test_a_preview_says_what_a_rollback_would_do_and_changes_nothing(undo: UndoLog, root: Path) -> None:
    overwrite(undo, "1", root / "new", "x")
    delete(undo, "2", root / "a")
    after = snapshot(root)
    assert [(s.action_id, s.what) for s in undo.steps()] == [("2", "bring back"), ("1", "remove what was created")]
    assert [s.action_id for s in undo.steps(limit_actions=1)] == ["2"]
    assert snapshot(root) == after


def test_actions_are_taken_back_once(undo: UndoLog, root: Path) -> None:
    delete(undo, "1", root / "a")
    assert len(undo.rollback(limit_actions=5)) == 1
    assert undo.rollback(limit_actions=5) == []


def test_what_is_too_large_to_keep_is_said(tmp_path: Path, root: Path) -> None:
    undo = UndoLog(tmp_path / "u", "agent", limits=UndoLimits(file_bytes=10, total_bytes=25))
    (root / "large").write_text("x" * 11)
    overwrite(undo, "1", root / "large", "y")
    results = undo.rollback()
    if results[0].status == "reversed":
        pytest.skip("this file system shares blocks: no copy was needed")
    assert results[0].status == "unsupported"
    assert "at most 10" in results[0].detail


def test_the_oldest_actions_make_room(tmp_path: Path, root: Path) -> None:
    undo = UndoLog(tmp_path / "u", "agent", limits=UndoLimits(actions=10))
    for n in range(200):
        overwrite(undo, str(n), root / "a", str(n))
    kept = {step.action_id for step in undo.steps()}
    assert {str(n) for n in range(190, 200)} <= kept
    assert len(kept) < 100
    undo.close()
    again = UndoLog(tmp_path / "u", "agent")
    assert {step.action_id for step in again.steps()} == kept


def test_compensations_run_in_between_and_their_failures_are_said(undo: UndoLog, root: Path) -> None:
    order: list[str] = []

    async def later() -> None:
        order.append("async")

    undo.register("1", lambda: order.append("first"), "undo 1")
    delete(undo, "2", root / "a")
    undo.register("3", later, "undo 3")
    undo.register("4", lambda: 1 / 0, "undo 4")
    results = undo.rollback()
    assert [(r.action_id, r.status) for r in results] == [
        ("4", "unsupported"), ("3", "reversed"), ("2", "reversed"), ("1", "reversed"),
    ]  # fmt: skip
    assert "ZeroDivisionError" in results[0].detail
    assert order == ["async", "first"]


def test_a_torn_or_damaged_tail_is_dropped_and_the_rest_holds(tmp_path: Path, root: Path) -> None:
    before = snapshot(root)
    undo = UndoLog(tmp_path / "u", "agent")
    delete(undo, "1", root / "a")
    undo.close()
    with (tmp_path / "u" / "journal").open("ab") as journal:
        journal.write(b'00000000 {"type":"entry"}\n12345678 {"half')
    again = UndoLog(tmp_path / "u", "agent")
    assert [r.status for r in again.rollback()] == ["reversed"]
    assert snapshot(root) == before


def test_a_living_process_keeps_its_log_to_itself(tmp_path: Path, undo: UndoLog, root: Path) -> None:
    delete(undo, "1", root / "a")
    assert orphans(tmp_path / "undo", "agent") == []
    undo.close()
    assert len(orphans(tmp_path / "undo", "agent")) == 1


DELETING = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vaultak.undo import UndoLog
root, undo = Path(sys.argv[2]), UndoLog(Path(sys.argv[3]), "agent")
for n, path in enumerate(sorted(root.glob("many/*"))):
    undo.before_write(str(n), str(path)); path.write_text("spoilt"); undo.after(str(n))
    undo.before_delete(f"d{n}", str(path)); path.unlink(); undo.after(f"d{n}")
    print(n, flush=True)
time.sleep(60)
"""

ROLLING_BACK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vaultak.undo import UndoLog
print("go", flush=True)
UndoLog(Path(sys.argv[3]), "agent").rollback()
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_the_agent_and_of_the_rollback_end_in_the_same_tree(tmp_path: Path, root: Path, seed: int) -> None:
    dice = random.Random(seed)
    (root / "many").mkdir()
    for n in range(150):
        (root / "many" / f"{n:03}").write_text(f"file {n}")
    before = snapshot(root)
    arguments = [str(TESTS), str(root), str(tmp_path / "u")]
    agent = subprocess.Popen([sys.executable, "-c", DELETING, *arguments], stdout=subprocess.PIPE)
    assert agent.stdout is not None
    for _ in range(dice.randint(5, 140)):
        agent.stdout.readline()
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    for _ in range(3):
        rollback = subprocess.Popen([sys.executable, "-c", ROLLING_BACK, *arguments], stdout=subprocess.PIPE)
        assert rollback.stdout is not None
        rollback.stdout.readline()
        time.sleep(dice.uniform(0, 0.02))
        rollback.send_signal(signal.SIGKILL)
        rollback.wait()
    undo = UndoLog(tmp_path / "u", "agent")
    assert {r.status for r in undo.rollback()} <= {"reversed"}
    assert snapshot(root) == before


def test_what_an_agent_did_through_the_real_interceptor_is_undone(tmp_path: Path, root: Path) -> None:
    import shutil

    before = snapshot(root)
    publisher = RecordingPublisher()
    os.environ["VAULTAK_DATA_DIR"] = str(tmp_path / "data")
    try:
        vt = Vaultak(publisher=publisher, rollback_limit=100)
    finally:
        del os.environ["VAULTAK_DATA_DIR"]
    with vt.monitor("agent") as m:
        os.remove(root / "a")
        (root / "b").write_text("overwritten")
        with open(root / "c", "a") as out:
            out.write("appended")
        os.rename(root / "d" / "x", root / "moved")
        os.replace(root / "moved", root / "d" / "y")
        (root / "brand" / "new").mkdir(parents=True)
        (root / "brand" / "new" / "file").write_text("x")
        os.chmod(root / "b", 0o600)
        os.symlink("b", root / "link")
        shutil.rmtree(root / "d")
    assert snapshot(root) != before
    results = m.rollback()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == before
    reversed_ids = {e.action_id for e in publisher.events() if isinstance(e, Outcome) and e.status == "reversed"}
    assert reversed_ids == {r.action_id for r in results}
