"""The kernel's side of the floor through ctypes: install a filter, receive what it stopped, answer.

Layouts are those of `include/uapi/linux/seccomp.h`. Everything raises `OSError` with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import NamedTuple

from vaultak.floor.bpf import assemble, instructions
from vaultak.floor.syscalls import Table, table

_OPENAT2 = 437
_PIDFD_GETFD = 438

_SET_MODE_FILTER, _GET_NOTIF_SIZES = 1, 3
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_SET_PTRACER = 4, 36, 38, 0x59616D61

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_ADDFD = struct.Struct("=QIIII")
_RECEIVE, _SEND, _ID_VALID, _ADD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_CONTINUE = 1
_CLONE_FS = 0x200
_MSG_NOSIGNAL = 0x4000
_ADD_AND_SEND = 2

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_libc.sendto.restype = ctypes.c_ssize_t


class Notification(NamedTuple):
    """A system call that waits for an answer. `pid` is the thread's id."""

    id: int
    pid: int
    number: int
    arguments: tuple[int, ...]


def _call(number: int, *arguments: object) -> int:
    return _checked(_syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def own_umask() -> None:
    """Give the calling thread a umask (and working directory) of its own; no file of ours is for others."""
    _checked(_libc.unshare(_CLONE_FS))
    os.umask(0o077)


def make_subreaper() -> None:
    """Orphaned descendants become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def allow_tracing_by(pid: int) -> None:
    """Where the Yama security module restricts who may read a process's memory, let `pid`."""
    try:
        _prctl(_PR_SET_PTRACER, pid)
    except OSError as e:
        if e.errno != errno.EINVAL:  # no Yama
            raise


class PreparedFilter:
    """A filter that is assembled already, so that installing it costs three system calls and no import."""

    def __init__(self, architecture: Table) -> None:
        code = assemble(instructions(architecture))
        self._code = ctypes.create_string_buffer(code, len(code))
        self._program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(self._code)))
        self._number = architecture.number["seccomp"]

    def install(self) -> int:
        """Put the calling thread, and what it starts from now on, under the filter for good; its listener."""
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        try:
            return self._load(_NEW_LISTENER | _WAIT_KILLABLE)
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            return self._load(_NEW_LISTENER)  # Linux before 5.19

    def _load(self, flags: int) -> int:
        return _call(self._number, ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(flags), ctypes.byref(self._program))


class Listener:
    """The supervisor's end. Thread-safe: every method is one system call."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def receive(self) -> Notification | None:
        """The next call that was stopped; blocks. `None` when its caller died before it could be read."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, buffer)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        identity, pid, _flags, number, _arch, _ip, *arguments = _NOTIFICATION.unpack(buffer)
        return Notification(identity, pid, number, tuple(arguments))

    def is_waiting(self, identity: int) -> bool:
        """Whether the caller still waits. What was read from it before is its own only if it does."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, struct.pack("=Q", identity))
        except OSError:
            return False
        return True

    def let_pass(self, identity: int) -> None:
        self._send(identity, 0, 0, _CONTINUE)

    def finish(self, identity: int, result: int) -> None:
        """The call returns `result`; a negative one is an errno."""
        self._send(identity, max(result, 0), min(result, 0), 0)

    def finish_with_descriptor(self, identity: int, fd: int, *, close_on_exec: bool) -> None:
        """The call returns a new descriptor of the caller's, for what `fd` has open here."""
        request = _ADDFD.pack(identity, _ADD_AND_SEND, fd, 0, os.O_CLOEXEC if close_on_exec else 0)
        try:
            fcntl.ioctl(self.fd, _ADD, request)
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                self.finish(identity, -e.errno)
            elif e.errno not in (errno.ENOENT, errno.EINPROGRESS):
                raise

    def _send(self, identity: int, value: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.fd, _SEND, _RESPONSE.pack(identity, value, error, flags))
        except OSError as e:
            if e.errno not in (errno.ENOENT, errno.EINPROGRESS):  # it has been killed meanwhile
                raise


def open_path(name: bytes, directory: int, flags: int, resolve: int) -> int:
    """`openat2(directory, name, {flags, resolve})`."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call(_OPENAT2, ctypes.c_int(directory), ctypes.c_char_p(name), how, ctypes.c_size_t(len(how)))


def descriptor_of(pidfd: int, fd: int) -> int:
    """A descriptor here of what process `pidfd` has open as `fd`."""
    return _call(_PIDFD_GETFD, ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0))


def rename(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> None:
    """`renameat2`."""
    architecture = table()
    assert architecture is not None
    number = architecture.number["renameat2"]
    _call(
        number,
        ctypes.c_int(source_fd),
        ctypes.c_char_p(source),
        ctypes.c_int(target_fd),
        ctypes.c_char_p(target),
        ctypes.c_uint(flags),
    )


def connect(fd: int, address: bytes) -> None:
    """`connect` with an address as the caller laid it out."""
    _checked(_libc.connect(fd, address, ctypes.c_uint(len(address))))


def bind(fd: int, address: bytes) -> None:
    """`bind`, likewise."""
    _checked(_libc.bind(fd, address, ctypes.c_uint(len(address))))


def send_to(fd: int, data: bytes, flags: int, address: bytes) -> int:
    """`sendto`, likewise; how many bytes were sent."""
    size, length = ctypes.c_size_t(len(data)), ctypes.c_uint(len(address))
    return _checked(_libc.sendto(fd, data, size, flags | _MSG_NOSIGNAL, address, length))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def reason_unavailable() -> str:
    """Why this machine has no floor; empty where it has one. Asks the kernel and changes nothing."""
    architecture = table()
    if architecture is None or struct.calcsize("P") != 8:
        return "the floor knows 64-bit x86 and ARM only"
    sizes = bytearray(6)
    try:
        _call(architecture.number["seccomp"], ctypes.c_uint(_GET_NOTIF_SIZES), ctypes.c_uint(0), _buffer(sizes))
    except OSError as e:
        return f"the kernel has no seccomp user notification ({e.strerror}); Linux 5.14 or later has"
    if struct.unpack("=HHH", sizes)[0] < _NOTIFICATION.size:
        return "the kernel's seccomp notifications have another layout"
    if _release() < (5, 14):
        return "the kernel is older than 5.14: it cannot answer with a descriptor"
    return ""


def _buffer(data: bytearray) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * len(data)).from_buffer(data)


def _release() -> tuple[int, ...]:
    parts = os.uname().release.split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())
