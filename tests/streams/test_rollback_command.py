"""`vaultak rollback` finishes what an agent that has died can no longer undo itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.test_cli import NOWHERE, vaultak
from vaultak.undo import UndoLog, agent_directory


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The data directory of an agent that deleted three files and died."""
    files = [tmp_path / f"file-{n}" for n in range(3)]
    log = UndoLog(agent_directory(tmp_path, "an agent/with: odd name") / "run-1", "an agent/with: odd name")
    for n, path in enumerate(files):
        path.write_text(f"content {n}")
        log.before_delete(f"action-{n}", str(path))
        path.unlink()
        log.after(f"action-{n}")
    log.close()
    return tmp_path


def test_a_dry_run_says_what_would_be_done_and_does_nothing(ended: Path) -> None:
    shown = vaultak(
        "rollback", "an agent/with: odd name", "--dry-run", "--json", VAULTAK_DATA_DIR=str(ended), **NOWHERE
    )
    assert shown.returncode == 0, shown.stderr
    assert [step["action_id"] for step in json.loads(shown.stdout)] == ["action-2", "action-1", "action-0"]
    assert not list(ended.glob("file-*"))


def test_the_last_actions_are_reversed_even_without_a_broker(ended: Path) -> None:
    arguments = ("rollback", "an agent/with: odd name", "--last", "2", "--json")
    done = vaultak(*arguments, VAULTAK_DATA_DIR=str(ended), **NOWHERE)
    assert done.returncode == 0, done.stderr
    assert [(step["action_id"], step["status"]) for step in json.loads(done.stdout)] == [
        ("action-2", "reversed"),
        ("action-1", "reversed"),
    ]
    assert sorted(path.name for path in ended.glob("file-*")) == ["file-1", "file-2"]
    assert (ended / "file-2").read_text() == "content 2"


def test_an_agent_that_left_nothing_is_said(tmp_path: Path) -> None:
    shown = vaultak("rollback", "nobody", "--dry-run", VAULTAK_DATA_DIR=str(tmp_path), **NOWHERE)
    assert "nothing to reverse" in shown.stderr or "left anything to reverse" in shown.stderr
