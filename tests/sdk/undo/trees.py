"""A small tree of files, what a user can see of it, and random operations on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from vaultak.undo import UndoLog

ODD = os.fsdecode(b"od\xff")
NAMES = ["a", "b", "c", "d/x", "d/y", "d/e/z", "f", ODD]
DIRECTORIES = ["d", "d/e", "g"]

Operation = tuple[str, str, object]
Journaled = Callable[[str], None]

_names, _directories = st.sampled_from(NAMES), st.sampled_from(DIRECTORIES)
_either = st.sampled_from([*NAMES, *DIRECTORIES])


def _of(what: str, on: st.SearchStrategy[str], argument: st.SearchStrategy[object]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(what), on, argument)


one_operation = st.one_of(
    _of("write", _names, st.binary(max_size=40)),
    _of("append", _names, st.binary(max_size=40)),
    _of("patch", _names, st.binary(max_size=40)),
    _of("truncate", _names, st.integers(0, 60)),
    _of("sparse", _names, st.integers(1, 1 << 20)),
    _of("delete", _names, st.none()),
    _of("rename", _either, _either),
    _of("chmod", _either, st.sampled_from([0o600, 0o644, 0o755, 0o400, 0o555])),
    _of("utime", _either, st.integers(1, 10**9)),
    _of("setxattr", _either, st.binary(max_size=8)),
    _of("removexattr", _either, st.none()),
    _of("mkdir", _directories, st.none()),
    _of("rmdir", _directories, st.none()),
    _of("symlink", _names, _names),
    _of("link", _names, _names),
    _of("fifo", _names, st.none()),
    _of("rmtree", _directories, st.none()),
)
operations = st.lists(one_operation, max_size=50)
fifty_operations = st.lists(one_operation, min_size=50, max_size=50)


def build(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    for n, name in enumerate(NAMES[:5]):
        (root / name).write_bytes(f"content {n}".encode() * (n + 1))
        os.utime(root / name, (1_000_000 + n, 1_000_000 + n))
    os.symlink("a", root / "l")
    os.link(root / "b", root / "b2")


def fresh(base: Path) -> Path:
    """A new tree at `base/tree`, whatever a run before left at `base`."""
    shutil.rmtree(base, ignore_errors=True)
    root = base / "tree"
    root.mkdir(parents=True)
    build(root)
    return root


def snapshot(root: Path) -> dict[str, object]:
    """Everything that a user can see of a tree, and which names are the same file."""
    found: dict[str, object] = {}
    names: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        info, name = path.lstat(), str(path.relative_to(root))
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = path.read_bytes()
        mode = 0 if path.is_symlink() else stat.S_IMODE(info.st_mode)
        same = names.setdefault(info.st_ino, name)
        found[name] = (stat.S_IFMT(info.st_mode), mode, info.st_mtime_ns, content, _xattrs(path), same)
    return found


def _xattrs(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def do(root: Path, operation: Operation) -> None:
    """One operation, as an agent does it. Raises `OSError` for what the system refuses."""
    what, name, argument = operation
    path, other = str(root / name), str(root / str(argument))
    match what:
        case "write" | "append" | "patch":
            with open(path, {"write": "wb", "append": "ab", "patch": "r+b"}[what]) as out:
                out.write(argument)  # type: ignore[arg-type]
        case "truncate":
            os.truncate(path, argument)  # type: ignore[arg-type]
        case "sparse":
            with open(path, "wb") as out:
                out.seek(argument)  # type: ignore[arg-type]
                out.write(b"end")
        case "delete":
            os.unlink(path)
        case "rename":
            os.rename(path, other)
        case "chmod":
            os.chmod(path, argument)  # type: ignore[arg-type]
        case "utime":
            os.utime(path, (argument, argument))  # type: ignore[arg-type]
        case "setxattr":
            os.setxattr(path, "user.note", argument)  # type: ignore[arg-type]
        case "removexattr":
            os.removexattr(path, "user.note")
        case "mkdir":
            os.mkdir(path)
        case "rmdir":
            os.rmdir(path)
        case "symlink":
            os.symlink(str(argument), path)
        case "link":
            os.link(other, path, follow_symlinks=False)
        case "fifo":
            os.mkfifo(path)
        case "rmtree":
            shutil.rmtree(path)


def journal(undo: UndoLog, root: Path, action_id: str, operation: Operation) -> None:
    """What the interceptor journals ahead of it."""
    what, name, argument = operation
    path = str(root / name)
    match what:
        case "write" | "append" | "patch" | "truncate" | "sparse":
            undo.before_write(action_id, os.path.realpath(path))
        case "delete" | "rmdir":
            undo.before_delete(action_id, path)
        case "rename":
            undo.before_rename(action_id, path, str(root / str(argument)))
        case "chmod" | "utime" | "setxattr" | "removexattr":
            undo.before_chmod(action_id, os.path.realpath(path))
        case "mkdir":
            undo.before_mkdir(action_id, path)
        case "symlink":
            undo.before_symlink(action_id, path)
        case "link" | "fifo":
            undo.before_write(action_id, path)


def act(undo: UndoLog, root: Path, number: int, operation: Operation) -> None:
    """One operation, journaled; one that the system refuses changes nothing."""
    action_id = f"action-{number}"
    with contextlib.suppress(OSError):
        if operation[0] == "rmtree":
            _remove_tree(undo, action_id, str(root / operation[1]))
        else:
            if operation[0] in ("write", "append", "patch", "sparse") and _is_pipe(root / operation[1]):
                return  # opening it would wait for a reader
            journal(undo, root, action_id, operation)
            do(root, operation)
    undo.after(action_id)


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def _remove_tree(undo: UndoLog, action_id: str, path: str) -> None:
    for directory, folders, files in os.walk(path, topdown=False):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(directory, f)))]:
            undo.before_delete(action_id, os.path.join(directory, name))
            os.unlink(os.path.join(directory, name))
        undo.before_delete(action_id, directory)
        os.rmdir(directory)
