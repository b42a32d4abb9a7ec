"""Disks that are full, and directories that may not be written to."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultak.undo import UndoLog

TESTS = Path(__file__).parents[2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    return filler


def test_what_a_full_disk_could_not_keep_is_said_and_nothing_is_lost(small_disk: Path) -> None:
    undo = UndoLog(small_disk / "undo", "agent")
    path, other = small_disk / "file", small_disk / "other"
    path.write_bytes(b"p" * 300_000)
    other.write_bytes(b"o" * 10)
    filler = fill(small_disk)
    undo.before_write("1", str(path))
    with path.open("r+b") as out:
        out.write(b"spoilt")
    undo.after("1")
    undo.before_delete("2", str(other))  # a link takes no room
    other.unlink()
    undo.after("2")
    results = undo.rollback()
    assert [r.status for r in results] == ["reversed", "unsupported"]
    assert "No space left" in results[1].detail
    assert other.read_bytes() == b"o" * 10
    filler.unlink()


def test_a_rollback_without_room_says_where_the_content_is(small_disk: Path) -> None:
    undo = UndoLog(small_disk / "undo", "agent")
    path = small_disk / "file"
    path.write_bytes(b"p" * 300_000)
    undo.before_write("1", str(path))
    path.write_bytes(b"small")
    undo.after("1")
    undo.settle(math.inf)
    filler = fill(small_disk)
    (result,) = undo.rollback()
    assert (result.status, "No space left" in result.detail) == ("unsupported", True)
    filler.unlink()
    assert Path(result.detail.rpartition("kept in ")[2]).read_bytes() == b"p" * 300_000


def test_a_limit_on_the_size_of_files_costs_that_content_alone(tmp_path: Path) -> None:
    undo = UndoLog(tmp_path / "undo", "agent")
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"x" * 200_000)
    small.write_bytes(b"small")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # Python ignores its signal
    try:
        for path in (large, small):
            undo.before_write(path.name, str(path))
            path.write_bytes(b"")
            undo.after(path.name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    results = undo.rollback()
    assert [r.status for r in results] == ["reversed", "unsupported"]
    assert os.strerror(errno.EFBIG) in results[1].detail
    assert small.read_bytes() == b"small"


AS_NOBODY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sdk.undo.trees import *
os.setgid(65534); os.setuid(65534)
base = Path(sys.argv[2])
root = fresh(base / "run")
before = snapshot(root)
undo = UndoLog(base / "undo", "agent")
for n, operation in enumerate([
    ("chmod", "a", 0o400), ("delete", "d/x", None), ("chmod", "d/e", 0o555), ("chmod", "d", 0o555),
    ("chmod", "b", 0o000), ("delete", "b", None), ("write", "c", b"new"), ("chmod", "c", 0o444),
]):
    act(undo, root, n, operation)
assert not os.access(root / "d", os.W_OK)
assert [r for r in undo.rollback() if r.status != "reversed"] == []
assert snapshot(root) == before
undo.before_delete("x", str(root / "d" / "y")); os.unlink(root / "d" / "y"); undo.after("x")
os.chmod(root / "d", 0o555)  # somebody else does
(result,) = undo.rollback()
assert (result.status, "Permission denied" in result.detail) == ("unsupported", True), result
"""


def test_read_only_directories_and_files_of_an_ordinary_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to become another user")
    base = tmp_path / "base"
    base.mkdir()
    os.chown(base, 65534, 65534)
    for parent in (base, *base.parents):
        if parent.stat().st_mode & 0o1 == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o1)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(TESTS), str(base)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
