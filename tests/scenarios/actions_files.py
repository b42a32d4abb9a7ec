"""Ways to read, write, delete files and change their permissions."""

from __future__ import annotations

import asyncio
import bz2
import codecs
import fileinput
import gzip
import io
import logging
import lzma
import os
import pathlib
import posix
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way


def _writes(name: str, act: Callable[[Sandbox], object], target: str = "new", **more: Any) -> Way:
    return Way(name, act, lambda s: s.exists(target), "file_write", lambda s: s.path(target), **more)


def _changes(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    return Way(
        name,
        act,
        lambda s: s.exists("data.txt") and s.text() != "secret",
        "file_write",
        lambda s: s.path("data.txt"),
        **more,
    )


def _reads(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        s.result = act(s)

    return Way(
        name,
        run,
        lambda s: "secret" in str(s.result) or s.result == b"secret",
        "file_read",
        lambda s: s.path("data.txt"),
        **more,
    )


def _deletes(name: str, act: Callable[[Sandbox], object], target: str = "data.txt", **more: Any) -> Way:
    return Way(name, act, lambda s: not s.exists(target), "file_delete", lambda s: s.path(target), **more)


def _permits(name: str, act: Callable[[Sandbox], object], **more: Any) -> Way:
    return Way(
        name,
        act,
        lambda s: os.stat(s.path("data.txt")).st_mode & 0o777 == 0o611,
        "permission_change",
        lambda s: s.path("data.txt"),
        **more,
    )


def _with_fd(flags: int, use: Callable[[int, Sandbox], object]) -> Callable[[Sandbox], object]:
    def run(s: Sandbox) -> None:
        fd = os.open(s.path("new"), flags, 0o600)
        try:
            use(fd, s)
        finally:
            os.close(fd)

    return run


def _by_os_open(s: Sandbox, **kwargs: Any) -> None:
    os.close(os.open(s.path("new"), os.O_CREAT | os.O_WRONLY, **kwargs))


def _relative(s: Sandbox, act: Callable[[], object]) -> None:
    before = os.getcwd()
    os.chdir(s.root)
    try:
        act()
    finally:
        os.chdir(before)


def _drain(handle: Any) -> Any:
    with handle:
        return handle.read()


def _fill(handle: Any, data: Any = "x") -> None:
    with handle:
        handle.write(data)


def _log(s: Sandbox) -> None:
    handler = logging.FileHandler(s.path("new"))
    handler.close()


def _archive(s: Sandbox) -> None:
    with tarfile.open(s.path("new"), "w") as tar:
        tar.addfile(tarfile.TarInfo("member"))


def _extract(s: Sandbox) -> None:
    with zipfile.ZipFile(s.path("z.zip")) as archive:
        archive.extract("new", s.root)


def _make_zip(s: Sandbox) -> None:
    with zipfile.ZipFile(s.path("z.zip"), "w") as archive:
        archive.writestr("new", "x")


def _sqlite(s: Sandbox) -> None:
    connection = sqlite3.connect(s.path("new"))
    connection.execute("create table t (a)")
    connection.close()


def _inplace(s: Sandbox) -> None:
    with fileinput.input([s.path("data.txt")], inplace=True) as lines:
        for _line in lines:
            print("changed")


def _mkstemp(s: Sandbox) -> None:
    fd, name = tempfile.mkstemp(dir=s.path("dir"))
    os.close(fd)
    s.result = name


class _Flipping:
    """A path-like that says something else each time it is asked."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def __fspath__(self) -> str:
        return self.names.pop(0) if len(self.names) > 1 else self.names[0]


WAYS: tuple[Way, ...] = (
    _reads("open", lambda s: _drain(open(s.path("data.txt")))),
    _reads("open_bytes_path", lambda s: _drain(open(os.fsencode(s.path("data.txt"))))),
    _reads("open_through_link", lambda s: _drain(open(s.path("link")))),
    _reads("open_through_dots", lambda s: _drain(open(s.path("dir/../data.txt")))),
    _reads("open_through_linked_directory", lambda s: _drain(open(s.path("linked_dir/../data.txt")))),
    _reads("open_through_proc", lambda s: _drain(open(f"/proc/self/root{s.path('data.txt')}"))),
    _reads("open_through_proc_cwd", lambda s: _relative(s, lambda: setattr(s, "result", _drain(open("data.txt"))))
           or s.result),
    _reads("path_read_text", lambda s: pathlib.Path(s.path("data.txt")).read_text()),
    _reads("path_read_bytes", lambda s: pathlib.Path(s.path("data.txt")).read_bytes()),
    _reads("io_open", lambda s: _drain(open(s.path("data.txt")))),
    _reads("io_open_code", lambda s: _drain(io.open_code(s.path("data.txt"))), outcome=False),
    _reads("io_fileio", lambda s: _drain(io.FileIO(s.path("data.txt"))), outcome=False),
    _reads("codecs_open", lambda s: _drain(codecs.open(s.path("data.txt")))),
    _reads("os_open_read", lambda s: os.read(os.open(s.path("data.txt"), os.O_RDONLY), 100)),
    _reads("posix_open_read", lambda s: os.read(posix.open(s.path("data.txt"), os.O_RDONLY), 100)),
    _reads("os_open_dir_fd", lambda s: os.read(os.open("../data.txt", os.O_RDONLY, dir_fd=s.dir_fd), 100)),
    _reads("fileinput", lambda s: list(fileinput.input([s.path("data.txt")]))),
    _reads("loader_get_data", lambda s: __import__("importlib.machinery").machinery.SourceFileLoader("x", "x")
           .get_data(s.path("data.txt")), outcome=False),
    _reads("linecache", lambda s: __import__("linecache").getlines(s.path("data.txt"))),
    _reads("open_original", lambda s: _drain(open.__wrapped__(s.path("data.txt"))), outcome=False),
    _reads("hard_link_then_read", lambda s: (os.link(s.path("data.txt"), s.path("alias")),
                                             _drain(open(s.path("alias"))))[1]),
    _writes("open_write", lambda s: _fill(open(s.path("new"), "w"))),
    _writes("open_append", lambda s: _fill(open(s.path("new"), "a"))),
    _writes("open_exclusive", lambda s: _fill(open(s.path("new"), "x"))),
    _writes("open_binary", lambda s: _fill(open(s.path("new"), "wb"), b"x")),
    _writes("open_unbuffered", lambda s: _fill(open(s.path("new"), "wb", buffering=0), b"x")),
    _writes("open_with_opener", lambda s: _fill(open("anything", "w", opener=lambda _n, f: os.open(s.path("new"), f,
                                                                                                    0o600)))),
    _writes("open_into_linked_directory", lambda s: _fill(open(s.path("linked_dir/new"), "w")), "dir/new"),
    _writes("open_flipping_path", lambda s: _fill(open(_Flipping(s.path("new"), "/dev/null"), "w"))),
    _writes("os_open_flipping_path",
            lambda s: os.close(os.open(_Flipping(s.path("new"), "/dev/null"), os.O_CREAT | os.O_WRONLY, 0o600))),
    _writes("io_fileio_write", lambda s: _fill(io.FileIO(s.path("new"), "w"), b"x"), outcome=False),
    _writes("path_write_text", lambda s: pathlib.Path(s.path("new")).write_text("x")),
    _writes("path_write_bytes", lambda s: pathlib.Path(s.path("new")).write_bytes(b"x")),
    _writes("path_touch", lambda s: pathlib.Path(s.path("new")).touch()),
    _writes("path_open", lambda s: _fill(pathlib.Path(s.path("new")).open("w"))),
    _writes("os_open_create", _by_os_open),
    _writes("os_open_dir_fd_create",
            lambda s: os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=s.dir_fd)), "dir/new"),
    _writes("os_open_original", lambda s: os.close(os.open.__wrapped__(s.path("new"), os.O_CREAT | os.O_WRONLY)),
            outcome=False),
    _writes("open_dangling_link", lambda s: _fill(open(s.path("dangling"), "w")),
            prepare=lambda s: os.symlink(s.path("new"), s.path("dangling"))),
    _writes("shutil_copy", lambda s: shutil.copy(s.path("data.txt"), s.path("new"))),
    _writes("shutil_copy2", lambda s: shutil.copy2(s.path("data.txt"), s.path("new"))),
    _writes("shutil_copyfile", lambda s: shutil.copyfile(s.path("data.txt"), s.path("new"))),
    _writes("shutil_copytree", lambda s: shutil.copytree(s.path("tree"), s.path("new"))),
    _writes("shutil_move", lambda s: shutil.move(s.path("data.txt"), s.path("new"))),
    _writes("shutil_make_archive", lambda s: shutil.make_archive(s.path("new"), "zip", s.path("tree")), "new.zip"),
    _writes("os_mkdir", lambda s: os.mkdir(s.path("new"))),
    _writes("os_mkdir_dir_fd", lambda s: os.mkdir("new", dir_fd=s.dir_fd), "dir/new"),
    _writes("os_makedirs", lambda s: os.makedirs(s.path("new"))),
    _writes("path_mkdir", lambda s: pathlib.Path(s.path("new")).mkdir()),
    _writes("os_symlink", lambda s: os.symlink("/etc/passwd", s.path("new"))),
    _writes("path_symlink_to", lambda s: pathlib.Path(s.path("new")).symlink_to("data.txt")),
    _writes("os_link", lambda s: os.link(s.path("data.txt"), s.path("new"))),
    _writes("path_hardlink_to", lambda s: pathlib.Path(s.path("new")).hardlink_to(s.path("data.txt"))),
    _writes("os_mkfifo", lambda s: os.mkfifo(s.path("new"))),
    _writes("os_mknod", lambda s: os.mknod(s.path("new"))),
    _writes("os_rename_target", lambda s: os.rename(s.path("data.txt"), s.path("new"))),
    _writes("gzip", lambda s: _fill(gzip.open(s.path("new"), "w"), b"x")),
    _writes("bz2", lambda s: _fill(bz2.open(s.path("new"), "w"), b"x")),
    _writes("lzma", lambda s: _fill(lzma.open(s.path("new"), "w"), b"x")),
    _writes("zipfile_write", lambda s: zipfile.ZipFile(s.path("new"), "w").close()),
    _writes("zipfile_extract", _extract, prepare=_make_zip),
    _writes("tarfile_write", _archive),
    _writes("logging_handler", _log),
    _writes("sqlite_connect", _sqlite),
    Way("tempfile_mkstemp", _mkstemp, lambda s: bool(os.listdir(s.path("dir"))), "file_write",
        lambda s: s.path("dir/") + "*"),
    Way("tempfile_named", lambda s: tempfile.NamedTemporaryFile(dir=s.path("dir"), delete=False).close(),
        lambda s: bool(os.listdir(s.path("dir"))), "file_write", lambda s: s.path("dir/") + "*"),
    Way("tempfile_mkdtemp", lambda s: tempfile.mkdtemp(dir=s.path("dir")),
        lambda s: bool(os.listdir(s.path("dir"))), "file_write", lambda s: s.path("dir/") + "*"),
    _changes("open_truncate", lambda s: open(s.path("data.txt"), "w").close()),
    _changes("open_update", lambda s: _fill(open(s.path("data.txt"), "r+"))),
    _changes("open_through_link_write", lambda s: _fill(open(s.path("link"), "w"))),
    _changes("os_truncate", lambda s: os.truncate(s.path("data.txt"), 0)),
    _changes("os_ftruncate_host_fd", lambda s: os.ftruncate(s.fd, 0),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_write_host_fd", lambda s: os.write(s.fd, b"x"),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_pwrite_host_fd", lambda s: os.pwrite(s.fd, b"x", 0),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_writev_host_fd", lambda s: os.writev(s.fd, [b"x"]),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_pwritev_host_fd", lambda s: os.pwritev(s.fd, [b"x"], 0),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("posix_write_host_fd", lambda s: posix.write(s.fd, b"x"),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_sendfile_host_fd", lambda s: os.sendfile(s.fd, s.open_by_host(os.O_RDONLY, "tree/deep/leaf"), 0, 4),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_copy_file_range_host_fd",
             lambda s: os.copy_file_range(s.open_by_host(os.O_RDONLY, "tree/deep/leaf"), s.fd, 4),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _changes("os_replace_over", lambda s: os.replace(s.path("tree/deep/leaf"), s.path("data.txt"))),
    _changes("fileinput_inplace", _inplace),
    Way("os_utime", lambda s: os.utime(s.path("data.txt"), (1, 1)), lambda s: os.stat(s.path("data.txt")).st_mtime == 1,
        "file_write", lambda s: s.path("data.txt")),
    _deletes("os_remove", lambda s: os.remove(s.path("data.txt"))),
    _deletes("os_unlink", lambda s: os.unlink(s.path("data.txt"))),
    _deletes("os_unlink_bytes", lambda s: os.unlink(os.fsencode(s.path("data.txt")))),
    _deletes("os_unlink_dir_fd", lambda s: os.unlink("../data.txt", dir_fd=s.dir_fd)),
    _deletes("os_unlink_through_link", lambda s: os.unlink(s.path("linked_dir/../data.txt"))),
    _deletes("os_unlink_relative", lambda s: _relative(s, lambda: os.unlink("data.txt"))),
    _deletes("os_unlink_link_itself", lambda s: os.unlink(s.path("link")), "link"),
    _deletes("os_remove_original", lambda s: os.remove.__wrapped__(s.path("data.txt")), outcome=False),
    _deletes("path_unlink", lambda s: pathlib.Path(s.path("data.txt")).unlink()),
    _deletes("posix_unlink", lambda s: posix.unlink(s.path("data.txt"))),
    _deletes("os_rename_source", lambda s: os.rename(s.path("data.txt"), s.path("new"))),
    _deletes("os_renames", lambda s: os.renames(s.path("data.txt"), s.path("x/new"))),
    _deletes("path_rename", lambda s: pathlib.Path(s.path("data.txt")).rename(s.path("new"))),
    _deletes("path_replace", lambda s: pathlib.Path(s.path("data.txt")).replace(s.path("new"))),
    _deletes("os_rmdir", lambda s: os.rmdir(s.path("dir")), "dir"),
    _deletes("path_rmdir", lambda s: pathlib.Path(s.path("dir")).rmdir(), "dir"),
    _deletes("os_removedirs", lambda s: os.removedirs(s.path("dir")), "dir"),
    _deletes("shutil_rmtree", lambda s: shutil.rmtree(s.path("tree")), "tree"),
    _deletes("shutil_rmtree_entry", lambda s: shutil.rmtree(s.path("tree")), "tree/deep/leaf"),
    _permits("os_chmod", lambda s: os.chmod(s.path("data.txt"), 0o611)),
    _permits("os_chmod_through_link", lambda s: os.chmod(s.path("link"), 0o611)),
    _permits("os_fchmod", lambda s: os.fchmod(s.fd, 0o611),
             prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _permits("path_chmod", lambda s: pathlib.Path(s.path("data.txt")).chmod(0o611)),
    _permits("shutil_copymode", lambda s: shutil.copymode(s.path("dir"), s.path("data.txt")),
             prepare=lambda s: os.chmod(s.path("dir"), 0o611)),
    Way("os_chown", lambda s: os.chown(s.path("data.txt"), 12345, 12345),
        lambda s: os.stat(s.path("data.txt")).st_uid == 12345, "permission_change", lambda s: s.path("data.txt"),
        needs=("root",)),
    Way("os_fchown", lambda s: os.fchown(s.fd, 12345, 12345), lambda s: os.stat(s.path("data.txt")).st_uid == 12345,
        "permission_change", lambda s: s.path("data.txt"), needs=("root",),
        prepare=lambda s: setattr(s, "fd", s.open_by_host(os.O_RDWR))),
    _writes("asyncio_to_thread_open",
            lambda s: asyncio.run(asyncio.to_thread(lambda: _fill(open(s.path("new"), "w"))))),
)  # fmt: skip
