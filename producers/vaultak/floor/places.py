"""Names of another process, resolved once and held: what is judged is what is then acted upon.

A place is held by an `O_PATH` descriptor of the thing, or of its directory where the thing does not exist yet or is
a name to be changed. Whoever renames directories or swaps links meanwhile changes what the name means, not the place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import ExitStack

from vaultak.floor import kernel
from vaultak.floor.tracee import Tracee

MAX_LINKS = 40
_DELETED = " (deleted)"
_PATH = os.O_PATH | os.O_CLOEXEC
_STAY = kernel.RESOLVE_NO_XDEV | kernel.RESOLVE_NO_MAGICLINKS
_PROC_ROOT_INODE = 1


def name_of(fd: int) -> str:
    """The kernel's name for what is open here; `/...` for files, else `pipe:[1]` and the like."""
    return os.readlink(f"/proc/self/fd/{fd}").removesuffix(_DELETED)


class Place:
    """`fd` itself when `name` is empty, else the entry `name` of the directory `fd`."""

    def __init__(self, fd: int, name: bytes = b"") -> None:
        self.fd = fd
        self.name = name
        base = name_of(fd)
        self.path = base if not name else f"{base.rstrip('/')}/{os.fsdecode(name)}"
        """Canonical and absolute; not starting with `/` when it is no file."""

    def stat(self) -> os.stat_result | None:
        """Of the thing itself, links not followed; `None` when there is none."""
        if not self.name:
            return os.fstat(self.fd)
        try:
            return os.stat(self.name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @property
    def link(self) -> str:
        """A path of this process that leads to exactly this thing."""
        return f"/proc/self/fd/{self.fd}" + (f"/{os.fsdecode(self.name)}" if self.name else "")


class Finder:
    """Finds places for one call of one tracee; closes what it opened when it is left."""

    def __init__(self, tracee: Tracee) -> None:
        self._tracee = tracee
        self._open = ExitStack()

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _hold(self, fd: int) -> int:
        self._open.callback(os.close, fd)
        return fd

    def descriptor(self, fd: int) -> Place:
        """What the tracee has open as `fd`."""
        return Place(self._open.enter_context(self._tracee.directory(fd)))

    def find(self, directory: int, name: bytes, *, follow: bool = True) -> Place:
        """Where `name` leads from the tracee's descriptor `directory`.

        What does not exist is found as an entry of its directory, and so is what is not to be followed. Raises
        `OSError` as the kernel would.
        """
        if not name:
            raise OSError(errno.ENOENT, "empty name")
        base = self._start(directory, name)
        head, _, tail = name.rstrip(b"/").rpartition(b"/")
        if tail in (b"", b".", b".."):
            head, tail, follow = name, b"", True
        if follow:
            try:
                return Place(self._whole(base, name))
            except FileNotFoundError:
                pass
        if not tail:
            return Place(self._whole(base, name))
        parent = self._whole(base, head or (b"/" if name[:1] == b"/" else b"."))
        place = Place(parent, tail)
        found = place.stat()
        if found is None or not stat.S_ISLNK(found.st_mode) or not follow:
            return place
        return self._walk(base, name)

    def _start(self, directory: int, name: bytes) -> int:
        if name[:1] == b"/":
            return self._hold(os.open("/", _PATH))
        return self._open.enter_context(self._tracee.directory(directory))

    def _whole(self, base: int, name: bytes) -> int:
        """Everything followed. The kernel does it where no link can mean something else to us than to the tracee."""
        if not _is_proc(base):
            for how in (_STAY, kernel.RESOLVE_NO_SYMLINKS):
                try:
                    return self._hold(kernel.open_path(name, base, os.O_PATH, how))
                except OSError as e:
                    if e.errno not in (errno.EXDEV, errno.ELOOP):
                        raise
        place = self._walk(base, name)
        if place.name:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return place.fd

    def _walk(self, base: int, name: bytes) -> Place:
        """Component by component, as the tracee would: `/proc/self` is its own."""
        here = base
        todo = deque(_components(name))
        links = 0
        while todo:
            part = todo.popleft()
            if part == b"/":
                here = self._hold(os.open("/", _PATH))
                continue
            try:
                found = self._hold(os.open(part, _PATH | os.O_NOFOLLOW, dir_fd=here))
            except FileNotFoundError:
                if todo:
                    raise
                return Place(here, part)
            if not stat.S_ISLNK(os.fstat(found).st_mode):
                here = found
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, "too many links")
            target = self._target(here, part, found)
            if target is None:
                here = self._hold(os.open(part, _PATH, dir_fd=here))
            else:
                todo.extendleft(reversed(_components(target)))
        return Place(here)

    def _target(self, directory: int, name: bytes, link: int) -> bytes | None:
        """What a link says; `None` for those of `/proc` that lead to an object, whatever they say."""
        if _is_proc(link):
            if os.fstat(directory).st_ino != _PROC_ROOT_INODE:
                return None if name not in (b"mounts", b"net") else os.readlink(b"", dir_fd=link)
            if name == b"self":
                return b"%d" % self._tracee.process
            if name == b"thread-self":
                return b"%d/task/%d" % (self._tracee.process, self._tracee.tid)
        return os.readlink(b"", dir_fd=link)


def _components(name: bytes) -> list[bytes]:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name[:1] == b"/":
        parts.insert(0, b"/")
    return parts


def _is_proc(fd: int) -> bool:
    return os.fstat(fd).st_dev == _PROC_DEVICE


_PROC_DEVICE = os.stat("/proc").st_dev if os.path.isdir("/proc/self") else -1
