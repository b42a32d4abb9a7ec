"""kill -9 at any system call of a rollback, again and again: the next one ends in the same tree."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdk.undo.test_undo_tree import examples
from sdk.undo.trees import Operation, act, build, fresh, operations, snapshot
from vaultak.undo import UndoLog
from vaultak.undo.places import orphans

_CALLS = (
    "link", "unlink", "rename", "mkdir", "rmdir", "symlink", "chmod", "fchmod", "utime", "setxattr", "removexattr",
    "write", "pwrite", "ftruncate", "open",
)  # fmt: skip


def roll_back_and_die(directory: Path, at: int, *, half: bool) -> bool:
    """Roll back in a child that is killed at its `at`th call that changes anything. Whether it got to its end.

    `half`: the call takes effect first; of a write, the first half.
    """
    child = os.fork()
    if child == 0:
        try:
            _deadly(at, half)
            UndoLog(directory, "agent").rollback()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def _deadly(at: int, half: bool) -> None:
    left = [at]

    def deadly(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            left[0] -= 1
            if left[0] > 0:
                return call(*arguments, **keywords)
            if half and name in ("write", "pwrite"):
                call(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
            elif half:
                call(*arguments, **keywords)
            return os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in _CALLS:
        setattr(os, name, deadly(getattr(os, name), name))


@examples(60)
@given(operations, st.lists(st.tuples(st.integers(1, 60), st.booleans()), min_size=1, max_size=4))
def test_kills_at_any_calls_of_a_rollback(tmp_path: Path, done: list[Operation], kills: list[tuple[int, bool]]) -> None:
    base = tmp_path / "run"
    root = fresh(base)
    before = snapshot(root)
    undo = UndoLog(base / "undo", "agent")
    for number, operation in enumerate(done):
        act(undo, root, number, operation)
    undo._journal.close()
    for at, half in kills:
        roll_back_and_die(base / "undo", at, half=half)
    last = UndoLog(base / "undo", "agent")
    results = last.rollback()
    last.close()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == before


MANY: list[Operation] = [
    ("write", "a", b"new"), ("append", "b", b"x" * 99), ("delete", "c", None), ("rename", "d/x", "d/y"),
    ("setxattr", "a", b"1"), ("chmod", "a", 0o400), ("utime", "b", 5), ("symlink", "f", "a"), ("write", "g", b"made"),
    ("rmtree", "d", None), ("mkdir", "d", None), ("write", "d/x", b"again"), ("sparse", "b", 5000),
]  # fmt: skip


@pytest.mark.parametrize("half", [False, True])
def test_every_single_call_of_a_rollback_may_be_its_last(tmp_path: Path, half: bool) -> None:
    at, ended = 0, False
    while not ended:
        at += 1
        root = fresh(tmp_path / "run")
        before = snapshot(root)
        undo = UndoLog(tmp_path / "run" / "undo", "agent")
        for number, operation in enumerate(MANY):
            act(undo, root, number, operation)
        undo.settle(math.inf)
        undo._journal.close()
        ended = roll_back_and_die(tmp_path / "run" / "undo", at, half=half)
        last = UndoLog(tmp_path / "run" / "undo", "agent")
        assert {r.status for r in last.rollback()} <= {"reversed"}, at
        last.close()
        assert snapshot(root) == before, at
    assert at > 50


def test_a_journal_cut_anywhere_takes_back_what_it_still_has(tmp_path: Path) -> None:
    """Each action was journaled whole before it ran: what a cut takes is what had not been done."""
    root = fresh(tmp_path / "run")
    undo = UndoLog(tmp_path / "run" / "undo", "agent")
    snapshots = []
    journal = tmp_path / "run" / "undo" / "journal"
    for number, name in enumerate(("a", "b", "c")):
        snapshots.append((journal.stat().st_size, snapshot(root)))
        act(undo, root, number, ("delete", name, None))
    undo._journal.close()
    whole = journal.read_bytes()
    for cut in range(0, len(whole), 37):
        journal.write_bytes(whole[:cut])
        kept = len([size for size, _ in snapshots if size < cut and whole.find(b"\n", size) < cut])
        again = UndoLog(tmp_path / "run" / "undo", "agent")
        assert len(again.steps()) == kept
        again._journal.close()


TWICE = """
import sys
from pathlib import Path
from vaultak.undo.places import orphans
for log in orphans(Path(sys.argv[1]), "agent"):
    print(len(log.rollback()))
    log.close()
"""


def test_two_rollbacks_at_once_take_each_step_back_once(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    build(root)
    before = snapshot(root)
    undo = UndoLog(tmp_path / "undo" / "i", "agent")
    for number, operation in enumerate(MANY):
        act(undo, root, number, operation)
    steps = len(undo.steps())
    undo._journal.close()
    both = [
        subprocess.Popen([sys.executable, "-c", TWICE, str(tmp_path / "undo")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert sum(int(line) for output in outputs for line in output.split()) == steps
    assert snapshot(root) == before
    assert orphans(tmp_path / "undo", "agent") == []
