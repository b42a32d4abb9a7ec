"""What somebody else has changed since is never overwritten silently, also where they changed it in place."""

from __future__ import annotations

import math
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultak.undo import UndoLog
from vaultak.undo.journal import Journal


@pytest.fixture
def undo(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo", "agent")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("before")
    os.utime(path, (1_000_000, 1_000_000))
    return path


def eventually(true: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def settled(undo: UndoLog) -> None:
    """Until the log has noted, by itself, what the agent left."""
    eventually(lambda: undo.settle(math.inf) is None)


def write(undo: UndoLog, action_id: str, path: Path, text: str) -> None:
    undo.before_write(action_id, str(path))
    path.write_text(text)
    undo.after(action_id)


def someone_else(path: Path, text: str) -> None:
    """Another process changes the file in place."""
    script = "import sys; f = open(sys.argv[1], 'r+'); f.write(sys.argv[2]); f.close()"
    subprocess.run([sys.executable, "-c", script, str(path), text], check=True)


def statuses(undo: UndoLog) -> list[str]:
    return [result.status for result in undo.rollback()]


def test_a_change_in_place_by_somebody_else_is_kept(undo: UndoLog, path: Path) -> None:
    write(undo, "1", path, "the agent's")
    settled(undo)
    someone_else(path, "THEIRS")
    (result,) = undo.rollback()
    assert (result.status, path.read_text()) == ("conflict", "THEIRSent's")
    assert Path(result.detail.rpartition("kept in ")[2]).read_text() == "before"


def test_a_file_that_the_agent_made_and_somebody_else_went_on_with_is_kept(undo: UndoLog, path: Path) -> None:
    made = path.with_name("made")
    write(undo, "1", made, "the agent's")
    settled(undo)
    someone_else(made, "THEIRS")
    assert statuses(undo) == ["conflict"]
    assert made.read_text() == "THEIRSent's"


def test_it_is_told_apart_without_a_call_from_the_agent(undo: UndoLog, path: Path) -> None:
    """The agent computes, or is paused: nothing asks the log to look, it does so by itself."""
    write(undo, "1", path, "the agent's")
    eventually(lambda: b"settled" in (path.with_name("undo") / "journal").read_bytes())
    someone_else(path, "THEIRS")
    assert statuses(undo) == ["conflict"]


def test_a_change_between_two_writes_of_the_agent_comes_back_and_stays(undo: UndoLog, path: Path) -> None:
    write(undo, "1", path, "first")
    settled(undo)
    someone_else(path, "THEIRS")
    write(undo, "2", path, "second")
    settled(undo)
    assert statuses(undo) == ["reversed", "conflict"]
    assert path.read_text() == "THEIRS"


def test_it_is_told_apart_after_the_death_of_the_agent(tmp_path: Path, undo: UndoLog, path: Path) -> None:
    write(undo, "1", path, "the agent's")
    settled(undo)
    undo._journal.close()
    someone_else(path, "THEIRS")
    assert statuses(UndoLog(tmp_path / "undo", "agent")) == ["conflict"]


def test_what_the_agent_writes_long_after_opening_is_its_own(undo: UndoLog, path: Path) -> None:
    undo.before_write("1", str(path))
    with path.open("w") as out:
        undo.after("1")
        out.write("a line\n")
        out.flush()
        assert undo.settle(math.inf) is not None  # it is looked at, and found open
        out.write("another\n")
    settled(undo)
    assert statuses(undo) == ["reversed"]
    assert path.read_text() == "before"


def test_a_duplicate_a_child_and_a_mapping_are_the_agent_writing_on(undo: UndoLog, path: Path) -> None:
    undo.before_write("1", str(path))
    with path.open("r+b") as out:
        undo.after("1")
        duplicate, mapping = os.dup(out.fileno()), mmap.mmap(out.fileno(), 0)
        script = "import sys; sys.stdin.read(); print('from the child')"
        child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=out)
    undo.settle(math.inf)
    child.communicate(b"")
    undo.settle(math.inf)
    os.pwrite(duplicate, b"DUPLICATE", 0)
    os.close(duplicate)
    undo.settle(math.inf)
    mapping[:3] = b"MAP"
    mapping.close()
    settled(undo)
    assert statuses(undo) == ["reversed"]
    assert path.read_text() == "before"


def test_two_writes_at_once_are_both_taken_back(undo: UndoLog, path: Path) -> None:
    undo.before_write("1", str(path))
    with path.open("r+") as first:
        undo.after("1")
        write(undo, "2", path, "in between")
        first.write("OVER")
    settled(undo)
    assert statuses(undo) == ["reversed", "reversed"]
    assert path.read_text() == "before"


def test_a_mode_that_somebody_else_set_since_stays(undo: UndoLog, path: Path) -> None:
    undo.before_chmod("1", str(path))
    path.chmod(0o600)
    undo.after("1")
    path.chmod(0o640)
    assert statuses(undo) == ["conflict"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_an_action_did_not_change_is_not_put_back(undo: UndoLog, path: Path) -> None:
    path.chmod(0o644)
    undo.before_chmod("1", str(path))
    os.utime(path, (5, 5))
    undo.after("1")
    path.chmod(0o640)
    assert statuses(undo) == ["reversed"]
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o640, 1_000_000)


def test_an_interrupted_step_is_finished_though_its_content_is_half_there(
    tmp_path: Path, undo: UndoLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(undo, "1", path, "the agent's")
    settled(undo)

    def die(content: bytes, target: int) -> None:
        os.pwrite(target, content[:3], 0)
        raise KeyboardInterrupt

    with monkeypatch.context() as deadly:
        deadly.setattr("vaultak.undo.contents.write", die)
        with pytest.raises(KeyboardInterrupt):
            undo.rollback()
    undo._journal.close()
    assert path.read_text() == "bef agent's"
    assert statuses(UndoLog(tmp_path / "undo", "agent")) == ["reversed"]
    assert path.read_text() == "before"


def test_a_name_of_an_attribute_need_not_be_utf8(tmp_path: Path, undo: UndoLog, path: Path) -> None:
    name = os.fsdecode(b"user.\xff")
    os.setxattr(path, name, b"v")
    undo.before_delete("1", str(path))
    path.unlink()
    undo.after("1")
    undo._journal.close()
    assert len(list(Journal(tmp_path / "undo").read())) == 1


def test_another_name_of_a_deleted_file_that_somebody_else_wrote_through(undo: UndoLog, path: Path) -> None:
    """The name comes back to the file as it is by now; that nothing changed is not made believe by its old time."""
    other = path.with_name("other")
    os.link(path, other)
    write(undo, "1", other, "THE AGENT'S")
    settled(undo)
    undo.before_delete("2", str(path))
    path.unlink()
    undo.after("2")
    someone_else(other, "the other's")
    results = undo.rollback()
    assert [r.status for r in results] == ["reversed", "conflict"]
    assert results[0].detail == "it was changed since through another name"
    assert path.read_text() == other.read_text() == "the other's"


def test_a_preview_says_where_somebody_else_is_in_the_way(undo: UndoLog, path: Path) -> None:
    write(undo, "1", path, "the agent's")
    settled(undo)
    someone_else(path, "THEIRS")
    (step,) = undo.steps()
    assert (step.expected, step.detail) == ("conflict", "someone else has changed it since")
