"""A thread that waits in a system call: its memory, its directory, its descriptors, its rights."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from vaultak.floor import kernel

PATH_MAX = 4096
MAX_STRINGS = 256
"""Arguments of a program that are looked at."""
_PAGE = 4096
_AT_FDCWD = -100


class Tracee:
    """Raises `OSError` where the thread is gone or its memory does not hold what the call says."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self._memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._memory)

    # -- memory ------------------------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes."""
        data = os.pread(self._memory, size, address)
        if len(data) != size:
            raise OSError(14, "bad address")
        return data

    def text(self, address: int, limit: int = PATH_MAX) -> bytes:
        """A string that ends in a zero, of less than `limit` bytes."""
        found = b""
        while len(found) < limit:
            here = address + len(found)
            part = os.pread(self._memory, min(_PAGE - here % _PAGE, limit - len(found)), here)
            if not part:
                raise OSError(14, "bad address")
            end = part.find(b"\0")
            if end >= 0:
                return found + part[:end]
            found += part
        raise OSError(36, "file name too long")

    def texts(self, address: int) -> list[bytes]:
        """An array of strings that ends in a null pointer; at most `MAX_STRINGS`, each cut at 4 KiB."""
        found: list[bytes] = []
        while address and len(found) < MAX_STRINGS:
            (pointer,) = struct.unpack("=Q", self.read(address, 8))
            if not pointer:
                break
            try:
                found.append(self.text(pointer))
            except OSError as e:
                if e.errno != 36:
                    raise
                found.append(self.read(pointer, PATH_MAX))
            address += 8
        return found

    # -- where it stands ---------------------------------------------------------------------------------------

    @contextmanager
    def directory(self, fd: int) -> Iterator[int]:
        """An `O_PATH` descriptor here of the directory its names start from: `AT_FDCWD` or a descriptor of its own."""
        where = f"/proc/{self.tid}/cwd" if signed(fd) == _AT_FDCWD else f"/proc/{self.tid}/fd/{signed(fd)}"
        if signed(fd) < 0 and signed(fd) != _AT_FDCWD:
            raise OSError(9, "bad file descriptor")
        try:
            own = os.open(where, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            raise OSError(9, "bad file descriptor") from None
        try:
            yield own
        finally:
            os.close(own)

    def link_of(self, fd: int) -> str:
        """What its descriptor has open, as the kernel names it (`/path`, `socket:[1]`, `pipe:[1]`)."""
        try:
            return os.readlink(f"/proc/{self.tid}/fd/{signed(fd)}")
        except FileNotFoundError:
            raise OSError(9, "bad file descriptor") from None

    @contextmanager
    def descriptor(self, fd: int) -> Iterator[int]:
        """A copy here of one of its descriptors."""
        pidfd = os.pidfd_open(self.process)
        try:
            own = kernel.descriptor_of(pidfd, signed(fd))
        finally:
            os.close(pidfd)
        try:
            yield own
        finally:
            os.close(own)

    @property
    def process(self) -> int:
        """The id of the process that the thread belongs to."""
        return int(self._status["Tgid"])

    def umask(self) -> int:
        return int(self._status["Umask"], 8)

    def rights(self) -> tuple[str, ...]:
        """What decides over its access to files."""
        return tuple(self._status[name] for name in RIGHTS)

    @cached_property
    def _status(self) -> dict[str, str]:
        """Asked for once: the thread waits, nothing of it changes."""
        return status_of(self.tid)


RIGHTS = ("Uid", "Gid", "Groups", "CapEff")
"""Users, groups and capabilities, as `/proc/<pid>/status` names them."""


_LINES = re.compile(rb"^(State|Umask|Tgid|Uid|Gid|Groups|CapEff|Seccomp):\t(.*)$", re.MULTILINE)


def status_of(tid: int) -> dict[str, str]:
    """The lines of `/proc/<tid>/status` that matter here, by name."""
    with open(f"/proc/{tid}/status", "rb", buffering=0) as f:
        return {name.decode(): value.decode() for name, value in _LINES.findall(f.read())}


def signed(argument: int) -> int:
    """The `int` in a register."""
    return (argument & 0xFFFFFFFF) - ((argument & 0x80000000) << 1)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, ValueError), open(f"/proc/{entry}/stat", "rb", buffering=0) as f:
                parent = int(f.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for known in found:
        found += children.get(known, ())
    return found[1:]
