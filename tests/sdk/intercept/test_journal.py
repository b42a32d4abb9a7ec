"""What an action will destroy is kept after it was allowed and before it happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sdk.intercept.recorder import Recorder, governed
from vaultak import governor
from vaultak.errors import ActionBlockedError
from vaultak.intercept import install

install()


class Journal:
    """Notes each call with what the file held at that moment."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def __getattr__(self, name: str) -> Any:
        def note(action_id: str, *paths: str) -> None:
            assert action_id
            path = paths[0]
            token = governor.activate(None)
            held = Path(path).read_text() if os.path.isfile(path) and not os.path.islink(path) else ""
            governor.deactivate(token)
            self.calls.append((name, ",".join(os.path.basename(p) for p in paths), held))

        return note


@pytest.fixture
def agent() -> Recorder:
    return Recorder(undo=Journal())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_text("before")
    return path


def test_content_is_kept_before_it_is_overwritten_or_gone(agent: Recorder, data: Path, tmp_path: Path) -> None:
    with governed(agent):
        data.write_text("after")
        os.truncate(data, 0)
        os.chmod(data, 0o600)
        os.rename(data, tmp_path / "moved")
        os.remove(tmp_path / "moved")
        os.mkdir(tmp_path / "made")
        os.rmdir(tmp_path / "made")
        os.symlink("nowhere", tmp_path / "link")
    assert agent.undo.calls == [
        ("before_write", "data", "before"),
        ("before_write", "data", "after"),
        ("before_chmod", "data", ""),
        ("before_rename", "data,moved", ""),
        ("before_delete", "moved", ""),
        ("before_mkdir", "made", ""),
        ("before_delete", "made", ""),
        ("before_symlink", "link", ""),
    ]


def test_a_denied_action_keeps_nothing(agent: Recorder, data: Path) -> None:
    agent.denies = lambda *_: True
    with governed(agent), pytest.raises(ActionBlockedError):
        data.write_text("after")
    assert agent.undo.calls == []
    assert data.read_text() == "before"


def test_a_tree_is_kept_entry_by_entry_and_its_root_last(agent: Recorder, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "leaf").write_text("leaf")
    with governed(agent):
        shutil.rmtree(tmp_path / "tree")
    assert agent.undo.calls == [
        ("before_delete", "leaf", "leaf"),
        ("before_delete", "deep", ""),
        ("before_delete", "tree", ""),
    ]
    assert [(os.path.basename(a.resource), a.outcome) for a in agent.asked] == [
        ("tree", "ok"),
        ("leaf", "ok"),
        ("deep", "ok"),
    ]


def test_a_write_through_a_descriptor_of_the_host_is_kept_once(agent: Recorder, data: Path) -> None:
    fd = os.open(data, os.O_RDWR)
    with governed(agent):
        os.write(fd, b"x")
        os.lseek(fd, 0, os.SEEK_SET)
    os.close(fd)
    assert agent.undo.calls == [("before_write", "data", "before")]


def test_a_failing_journal_never_breaks_the_host(data: Path) -> None:
    class Broken:
        def before_write(self, *_: object) -> None:
            raise RuntimeError("disk on fire")

    with governed(Recorder(undo=Broken())):
        data.write_text("after")
    assert data.read_text() == "after"
