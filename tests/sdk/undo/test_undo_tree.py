"""Whatever an agent does to a tree of files, a rollback puts it back: content, mode, times, attributes, links.

`VAULTAK_TEST_EXAMPLES=1000` runs so many examples of each.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.undo.trees import Operation, act, fifty_operations, fresh, operations, snapshot
from vaultak.undo import UndoLog

_EXAMPLES = int(os.environ.get("VAULTAK_TEST_EXAMPLES", "0"))


def examples(usual: int) -> settings:
    return settings(
        max_examples=_EXAMPLES or usual,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@examples(100)
@given(fifty_operations)
def test_a_rollback_restores_the_tree_exactly(tmp_path: Path, done: list[Operation]) -> None:
    base = tmp_path / "run"
    root = fresh(base)
    before = snapshot(root)
    undo = UndoLog(base / "undo", "agent")
    for number, operation in enumerate(done):
        act(undo, root, number, operation)
    results = undo.rollback()
    undo.close()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == before
    assert not list(base.glob("undo/kept/*"))


@examples(60)
@given(operations, st.integers(0, 10))
def test_the_last_actions_alone_can_be_taken_back(tmp_path: Path, done: list[Operation], last: int) -> None:
    base = tmp_path / "run"
    root = fresh(base)
    undo = UndoLog(base / "undo", "agent")
    split = max(0, len(done) - last)
    for number, operation in enumerate(done[:split]):
        act(undo, root, number, operation)
    between = snapshot(root)
    for number, operation in enumerate(done[split:], split):
        act(undo, root, number, operation)
    results = undo.rollback(action_ids=[f"action-{number}" for number in range(split, len(done))])
    undo.close()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == between


@examples(100)
@given(operations, operations)
def test_a_preview_names_the_steps_of_a_rollback(
    tmp_path: Path, done: list[Operation], others: list[Operation]
) -> None:
    """The same steps in the same order, whatever somebody else has done since; all good when nobody has."""
    base = tmp_path / "run"
    root = fresh(base)
    undo = UndoLog(base / "undo", "agent")
    for number, operation in enumerate(done):
        act(undo, root, number, operation)
    undo.settle(math.inf)
    someone = UndoLog(base / "unused", "someone")
    for number, operation in enumerate(others[:5]):
        act(someone, root, number, operation)
    foreseen = undo.steps()
    results = undo.rollback()
    assert [(r.action_id, r.target) for r in results] == [(s.action_id, s.target) for s in foreseen]
    if not others:
        assert {s.expected for s in foreseen} <= {"reversed"}
    undo.close()
    someone.close()
