"""What must not be lost when names, disks, other programs and compensations do not play along."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from vaultak.undo import UndoLimits, UndoLog, blobs
from vaultak.undo.entries import Done
from vaultak.undo.journal import Journal, Record


@pytest.fixture
def undo(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "undo", "agent")


def delete(undo: UndoLog, action_id: str, path: Path) -> None:
    undo.before_delete(action_id, str(path))
    path.unlink()
    undo.after(action_id)


def let_go(undo: UndoLog) -> None:
    """As the death of the process would: nothing is tidied."""
    undo._journal.close()


def test_names_that_are_not_utf8_are_brought_back(tmp_path: Path) -> None:
    undo = UndoLog(tmp_path / "undo", "agent")
    path = tmp_path / os.fsdecode(b"caf\xe9")
    link = tmp_path / "link"
    path.write_text("x")
    link.symlink_to(os.fsdecode(b"\xff"))
    delete(undo, "1", path)
    delete(undo, "2", link)
    let_go(undo)
    assert [r.status for r in UndoLog(tmp_path / "undo", "agent").rollback()] == ["reversed"] * 2
    assert path.read_text() == "x"
    assert link.readlink() == Path(os.fsdecode(b"\xff"))


def test_a_content_that_could_not_be_put_back_outlives_the_log(undo: UndoLog, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("precious")
    delete(undo, "1", path)
    path.write_text("someone else's")
    (result,) = undo.rollback()
    undo.close()
    assert result.status == "conflict"
    assert Path(result.detail.rpartition("kept in ")[2]).read_text() == "precious"


def test_a_kept_content_without_a_record_is_never_written_over(tmp_path: Path) -> None:
    """It may be a link to the user's file: the process died, or the disk was full, before the file was deleted."""
    undo = UndoLog(tmp_path / "undo", "agent")
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("first")
    second.write_text("second")
    os.link(first, tmp_path / "undo" / "kept" / "1")
    let_go(undo)
    again = UndoLog(tmp_path / "undo", "agent")
    delete(again, "2", second)
    assert first.read_text() == "first"
    assert [r.status for r in again.rollback()] == ["reversed"]
    assert second.read_text() == "second"


def test_a_full_disk_costs_the_record_it_refused_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the agent lives it knows without the record; after its death the others are still there."""
    undo = UndoLog(tmp_path / "undo", "agent")
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    delete(undo, "a", paths[0])
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        delete(undo, "b", paths[1])
    delete(undo, "c", paths[2])
    assert [step.action_id for step in undo.steps()] == ["c", "b", "a"]
    let_go(undo)
    assert len(UndoLog(tmp_path / "undo", "agent").rollback()) == 2
    assert [path.exists() for path in paths] == [True, False, True]


def test_a_full_disk_does_not_stop_a_rollback(undo: UndoLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / str(n) for n in range(4)]
    for path in paths:
        path.write_text(path.name)
        delete(undo, path.name, path)
    append = Journal.append

    def refuse(journal: Journal, record: Record) -> None:
        if isinstance(record, Done):
            raise OSError(errno.ENOSPC, "no space")
        append(journal, record)

    monkeypatch.setattr(Journal, "append", refuse)
    assert [r.status for r in undo.rollback()] == ["reversed"] * 4
    assert [path.read_text() for path in paths] == ["0", "1", "2", "3"]


def test_a_pipe_that_an_action_made_is_removed(undo: UndoLog, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    undo.before_write("1", str(pipe))
    os.mkfifo(pipe)
    undo.after("1")
    assert [r.status for r in undo.rollback()] == ["reversed"]
    assert not pipe.exists()


@pytest.mark.parametrize("unnamed_files", [True, False])
def test_bringing_back_from_another_file_system_touches_no_other_name(
    undo: UndoLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed_files: bool
) -> None:
    path, victim = tmp_path / "a", tmp_path / "victim"
    path.write_text("data")
    victim.write_text("victim")
    link = os.link

    def across(source: str, target: str, **options: bool) -> None:
        if "kept" in str(target):
            raise OSError(errno.EXDEV, "another file system")
        link(source, target, **options)

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(blobs.os, "link", across)
        delete(undo, "1", path)
    if not unnamed_files:
        monkeypatch.delattr(os, "O_TMPFILE")
    (tmp_path / "a.vaultak-undo").symlink_to(victim)
    assert [r.status for r in undo.rollback()] == ["reversed"]
    assert (path.read_text(), victim.read_text()) == ("data", "victim")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.vaultak-undo", "undo", "victim"]


def test_forgetting_a_deleted_file_makes_no_room_for_copies(tmp_path: Path) -> None:
    undo = UndoLog(tmp_path / "undo", "agent", limits=UndoLimits(total_bytes=1000, actions=1))
    copied, linked = tmp_path / "copied", tmp_path / "linked"
    copied.write_bytes(b"x" * 900)
    linked.write_bytes(b"y" * 800)
    delete(undo, "1", linked)
    undo.before_write("2", str(copied))
    kept = undo._blobs.total_bytes
    undo._prune()
    assert undo._blobs.total_bytes == kept


def test_a_compensation_may_wait_for_a_thread_that_journals(undo: UndoLog, tmp_path: Path) -> None:
    def compensate() -> None:
        worker = threading.Thread(target=undo.before_write, args=("2", str(tmp_path / "x")), daemon=True)
        worker.start()
        worker.join(10)
        assert not worker.is_alive()

    undo.register("1", compensate, "through a worker")
    assert [(r.action_id, r.status) for r in undo.rollback()] == [("1", "reversed")]
