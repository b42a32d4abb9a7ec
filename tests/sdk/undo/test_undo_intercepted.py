"""What an agent does through Python's own calls, seen by the interceptor alone, is taken back exactly."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given

from sdk.undo.test_undo_tree import examples
from sdk.undo.trees import Operation, do, fifty_operations, fresh, snapshot
from vaultak import Vaultak
from vaultak.testing import RecordingPublisher


@pytest.fixture(scope="module")
def vt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaultak]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VAULTAK_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        vt = Vaultak(
            publisher=RecordingPublisher(), rollback_limit=1000, max_actions_per_minute=10**6, max_risk_score=1.0
        )
    yield vt
    vt.close()


@examples(40)
@given(fifty_operations)
def test_fifty_random_operations_of_an_agent_are_taken_back(vt: Vaultak, tmp_path: Path, done: list[Operation]) -> None:
    root = fresh(tmp_path / "run")
    before = snapshot(root)
    with vt.monitor("agent") as m:
        for operation in done:
            if operation[0] in ("write", "append", "patch", "sparse", "rmtree") and _is_pipe(root / operation[1]):
                continue
            with contextlib.suppress(OSError):
                do(root, operation)
        results = m.rollback()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == before


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def test_the_thread_that_looks_at_files_is_no_action_of_the_agent(vt: Vaultak, tmp_path: Path) -> None:
    with vt.monitor("looking") as m, (tmp_path / "file").open("w"):
        threads = [thread.name for thread in threading.enumerate()]
        trail = m.audit_trail()
    assert "vaultak-undo-settle" in threads
    assert len(trail) == 1, trail


def test_what_was_written_before_the_end_of_a_session_can_be_taken_back(vt: Vaultak, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with vt.monitor("ended") as m:
        path.write_text("after")
        os.utime(path, (7, 7))
    assert [r.status for r in m.rollback()] == ["reversed", "reversed"]
    assert path.read_text() == "before"
