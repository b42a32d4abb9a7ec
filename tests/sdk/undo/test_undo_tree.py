"""Whatever an agent does to a tree of files, a rollback puts it back: content, mode, times, links."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaultak.undo import UndoLog

NAMES = ["a", "b", "c", "d/x", "d/y", "d/e/z", "f"]
DIRECTORIES = ["d", "d/e", "g"]

operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.binary(max_size=40)),
        st.tuples(st.just("append"), st.sampled_from(NAMES), st.binary(max_size=40)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("chmod"), st.sampled_from([*NAMES, *DIRECTORIES]), st.sampled_from([0o600, 0o644, 0o755])),
        st.tuples(st.just("utime"), st.sampled_from(NAMES), st.integers(1, 10**9)),
        st.tuples(st.just("mkdir"), st.sampled_from(DIRECTORIES), st.none()),
        st.tuples(st.just("rmdir"), st.sampled_from(DIRECTORIES), st.none()),
        st.tuples(st.just("symlink"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("link"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("rmtree"), st.sampled_from(DIRECTORIES), st.none()),
    ),
    max_size=50,
)


def build(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    for n, name in enumerate(NAMES[:5]):
        (root / name).write_bytes(f"content {n}".encode() * (n + 1))
        os.utime(root / name, (1_000_000 + n, 1_000_000 + n))
    os.symlink("a", root / "l")


def snapshot(root: Path) -> dict[str, object]:
    """Everything that a user can see of a tree."""
    found: dict[str, object] = {}
    for path in sorted([root, *root.rglob("*")]):
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = 0 if path.is_symlink() else stat.S_IMODE(info.st_mode)
        found[str(path.relative_to(root))] = (stat.S_IFMT(info.st_mode), mode, info.st_mtime_ns, content)
    return found


def act(undo: UndoLog, root: Path, number: int, operation: tuple[str, str, object]) -> None:
    """One operation, journaled as the interceptor would; one that the system refuses changes nothing."""
    what, name, argument = operation
    path, action_id = str(root / name), f"action-{number}"
    try:
        match what:
            case "write" | "append":
                undo.before_write(action_id, os.path.realpath(path))
                with open(path, "wb" if what == "write" else "ab") as out:
                    out.write(argument)  # type: ignore[arg-type]
            case "delete":
                undo.before_delete(action_id, path)
                os.unlink(path)
            case "rename":
                undo.before_rename(action_id, path, str(root / str(argument)))
                os.rename(path, root / str(argument))
            case "chmod":
                undo.before_chmod(action_id, os.path.realpath(path))
                os.chmod(path, argument)  # type: ignore[arg-type]
            case "utime":
                undo.before_chmod(action_id, os.path.realpath(path))
                os.utime(path, (argument, argument))  # type: ignore[arg-type]
            case "mkdir":
                undo.before_mkdir(action_id, path)
                os.mkdir(path)
            case "rmdir":
                undo.before_delete(action_id, path)
                os.rmdir(path)
            case "symlink":
                undo.before_symlink(action_id, path)
                os.symlink(str(argument), path)
            case "link":
                undo.before_symlink(action_id, path)
                os.link(root / str(argument), path, follow_symlinks=False)
            case "rmtree":
                remove_tree(undo, action_id, path)
    except OSError:
        pass
    undo.after(action_id)


def remove_tree(undo: UndoLog, action_id: str, path: str) -> None:
    for directory, folders, files in os.walk(path, topdown=False):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(directory, f)))]:
            undo.before_delete(action_id, os.path.join(directory, name))
            os.unlink(os.path.join(directory, name))
        undo.before_delete(action_id, directory)
        os.rmdir(directory)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_a_rollback_restores_the_tree_exactly(tmp_path: Path, done: list[tuple[str, str, object]]) -> None:
    base = tmp_path / "run"
    shutil.rmtree(base, ignore_errors=True)
    root = base / "tree"
    root.mkdir(parents=True)
    build(root)
    before = snapshot(root)
    undo = UndoLog(base / "undo", "agent")
    for number, operation in enumerate(done):
        act(undo, root, number, operation)
    results = undo.rollback()
    undo.close()
    assert [r for r in results if r.status != "reversed"] == []
    assert snapshot(root) == before
    assert not list(base.glob("undo/kept/*"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations, st.integers(0, 10))
def test_the_last_actions_alone_can_be_taken_back(
    tmp_path: Path, done: list[tuple[str, str, object]], last: int
) -> None:
    base = tmp_path / "run"
    shutil.rmtree(base, ignore_errors=True)
    root = base / "tree"
    root.mkdir(parents=True)
    build(root)
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
