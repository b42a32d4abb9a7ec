"""Whether a file is still being written: by this process, a child, or anybody."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal

_F_SETSIG = getattr(fcntl, "F_SETSIG", 10)
_F_SETLEASE = getattr(fcntl, "F_SETLEASE", 1024)
_ACCESS = os.O_WRONLY | os.O_RDWR


def is_open_for_writing(path: str, inode: int) -> bool | None:
    """Whether any process has the file open, or mapped, for writing; `None` when the system does not say.

    Asked by a read lease, which Linux grants to a file's owner only while nobody can write to it. Where it grants none
    (another owner, another kind of file system) only this process's own descriptors are looked at.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return _own_descriptor(inode)
    try:
        if os.fstat(fd).st_ino != inode:
            return False
        # Whoever opens it for writing in this very moment waits until the lease is gone. The signal that would tell
        # us so is SIGIO by default, and deadly; this one is ignored by default.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)
    except OSError as e:
        return True if e.errno == errno.EAGAIN else _own_descriptor(inode)
    else:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(fd)


def _own_descriptor(inode: int) -> bool | None:
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return None
    return any(_writes(int(name), inode) for name in descriptors)


def _writes(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode and bool(fcntl.fcntl(fd, fcntl.F_GETFL) & _ACCESS)
    except OSError:
        return False
