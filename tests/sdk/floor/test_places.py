"""Names lead where the kernel leads them, whatever links are in the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultak.floor.places import Finder, Place
from vaultak.floor.tracee import Tracee

NAMES = st.sampled_from(["a", "b", "c", "..", "."])
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)


@pytest.fixture(scope="module")
def me() -> Iterator[Tracee]:
    """The one whose names are resolved: this process."""
    tracee = Tracee(os.getpid())
    yield tracee
    tracee.close()


def _kernel(path: str, base: int, flags: int) -> tuple[str, int] | int:
    """The place as the kernel finds it, or the errno."""
    try:
        fd = os.open(path, os.O_PATH | flags, dir_fd=base)
    except OSError as e:
        return e.errno or -1
    try:
        return os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _found(place: Place) -> tuple[str, int] | None:
    info = place.stat()
    return None if info is None else (place.path, info.st_ino)


@settings(max_examples=200, deadline=None)
@given(
    made=st.lists(st.tuples(st.sampled_from(["dir", "file", "link"]), PATHS, PATHS), max_size=12),
    asked=st.lists(st.tuples(PATHS, st.booleans(), st.sampled_from(["", "/", "//"])), min_size=1, max_size=6),
)
def test_as_the_kernel(me: Tracee, made: list[tuple[str, str, str]], asked: list[tuple[str, bool, str]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        root = os.path.realpath(root)
        os.makedirs(f"{root}/x/y")
        base = os.open(f"{root}/x/y", os.O_PATH)
        for kind, path, target in made:
            _make(kind, path, target, base)
        for path, follow, end in asked:
            _compare(me, base, path + end, follow)
            _compare(me, base, f"{root}/x/y/{path}{end}", follow)
        os.close(base)


def _make(kind: str, path: str, target: str, base: int) -> None:
    try:
        if kind == "dir":
            os.mkdir(path, dir_fd=base)
        elif kind == "file":
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, dir_fd=base))
        else:
            os.symlink(target, path, dir_fd=base)
    except OSError:
        pass  # the name is taken, or its directory is not there


def _compare(me: Tracee, base: int, path: str, follow: bool) -> None:
    expected = _kernel(path, base, 0 if follow or path.endswith("/") else os.O_NOFOLLOW)
    with Finder(me) as finder:
        try:
            place = finder.find(base, os.fsencode(path), follow=follow or path.endswith("/"))
        except OSError as e:
            assert e.errno == expected, path
            return
        if isinstance(expected, int):
            assert place.stat() is None or path.endswith("/"), path
        else:
            assert _found(place) == expected, path


def test_links_of_proc(me: Tracee) -> None:
    own = f"/proc/{os.getpid()}"
    with Finder(me) as finder:
        assert finder.find(-100, b"/proc/self/status").path == f"{own}/status"
        assert finder.find(-100, b"/proc/thread-self/comm").path == f"{own}/task/{os.getpid()}/comm"
        assert finder.find(-100, b"/proc/self/cwd/none").path == f"{os.getcwd()}/none"
        assert finder.find(-100, b"/proc/mounts").path == f"{own}/mounts"
        assert finder.find(-100, b"/proc/self/exe").path == os.path.realpath("/proc/self/exe")
