"""Effects through open descriptors and identities, for which Python raises no event: judged by patches."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
from pathlib import Path
from typing import Any

from vaultak.intercept import paths
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.held import is_stream, keep_content, through
from vaultak.intercept.patching import patch_function
from vaultak.intercept.sockets import sent_through
from vaultak.wire import ActionType

_ACCESS_READ, _ACCESS_COPY = 1, 3  # of `mmap`: neither changes the file


def _written(fd: object, op: str) -> Effects:
    """What writing to a descriptor does: to a file, or to the peer of a socket; nothing through a pipe."""
    if not isinstance(fd, int) or is_stream(fd):
        return NONE
    return sent_through(fd, op) if paths.of_descriptor(fd) is None else through(fd, op, writes=True)


def _argument(o: Occurrence, position: int, keyword: str) -> object:
    if len(o.args) > position:
        return o.args[position]
    return o.call.kwargs.get(keyword) if o.call is not None else None


def _writes(o: Occurrence) -> Effects:
    return _written(_argument(o, 0, "fd"), o.event)


def _reads(o: Occurrence) -> Effects:
    return through(_argument(o, 0, "fd"), o.event, writes=False)


def _copies(source: tuple[int, str], target: tuple[int, str]) -> Classifier:
    def classify(o: Occurrence) -> Effects:
        written = _written(_argument(o, *target), o.event)
        return (*through(_argument(o, *source), o.event, writes=False), *written)

    return classify


def _duplicated(o: Occurrence) -> Effects:
    """`dup2` puts a file under a number that others write to, standard output, say; `dup` under the first free one."""
    fd = _argument(o, 0, "fd")
    return through(fd, o.event, writes=_may_write(fd))


def _may_write(fd: object) -> bool:
    try:
        return isinstance(fd, int) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def _mapped(o: Occurrence) -> Effects:
    fd, _length, access, _offset = o.args
    return through(fd, o.event, writes=access not in (_ACCESS_READ, _ACCESS_COPY) and _may_write(fd))


def _commanded(o: Occurrence) -> Effects:
    """The few commands of `fcntl` that act: a further number for a file, a process to be signalled."""
    fd, command, argument = o.args
    if command in _DUPLICATES:
        return through(fd, o.event, writes=_may_write(fd))
    return _owned(argument, o.event) if command in _OWNERS else NONE


def _owned(argument: object, op: str) -> Effects:
    """Whom the kernel signals, with a signal of the agent's choice, when a descriptor becomes ready."""
    if isinstance(argument, bytes | bytearray):
        argument = int.from_bytes(bytes(argument)[-_PID_BYTES:], sys.byteorder, signed=True)
    if argument in (0, os.getpid()):
        return NONE
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{argument}", {"op": f"{op} F_SETOWN"}),)


def _controlled(o: Occurrence) -> Effects:
    """The few controls that act: a file cloned into another, input put into a terminal, a process to be signalled."""
    fd, request = o.args[:2]
    if request in _OWNER_REQUESTS:
        return _owned(o.args[2], o.event)
    if request == _TIOCSTI:
        return (Effect(ActionType.CUSTOM, "terminal:input", {"op": "ioctl TIOCSTI", "fd": fd}),)
    return _written(fd, o.event) if request in _CLONES else NONE


def _made(o: Occurrence) -> Effects:
    """mkfifo and mknod."""
    kwargs = o.call.kwargs if o.call is not None else {}
    dir_fd = kwargs.get("dir_fd")
    name = o.args[0] if o.args else kwargs.get("path")
    path = paths.resolve(name, dir_fd=dir_fd if isinstance(dir_fd, int) else -1, follow=False)
    if path is None:
        return NONE
    return (Effect(ActionType.FILE_WRITE, paths.printable(path), {"op": o.event}, keep_content(path)),)


def _identity(o: Occurrence) -> Effects:
    payload: dict[str, Any] = {"op": o.event, "arguments": [str(argument)[:200] for argument in o.args]}
    return (Effect(ActionType.PERMISSION_CHANGE, f"process:pid:{os.getpid()}", payload),)


def _signalled(o: Occurrence) -> Effects:
    fd, number = o.args[:2]
    try:
        fields = Path(f"/proc/self/fdinfo/{fd}").read_text().split()
        pid = fields[fields.index("Pid:") + 1]
    except (OSError, ValueError):
        pid = "unknown"
    payload = {"op": o.event, "signal": signal.Signals(number).name}
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{pid}", payload),)


_TIOCSTI = getattr(termios, "TIOCSTI", -1)
_DUPLICATES = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC)
_OWNERS = (fcntl.F_SETOWN, 15)
_OWNER_REQUESTS = (0x8901, 0x8902)
"""F_SETOWN, F_SETOWN_EX, FIOSETOWN and SIOCSPGRP of Linux."""
_PID_BYTES = 4
_CLONES = (0x40049409, 0x4020940D)
"""FICLONE and FICLONERANGE of `linux/fs.h`."""

_CALLS: dict[str, Classifier] = {
    "write": _writes,
    "writev": _writes,
    "pwrite": _writes,
    "pwritev": _writes,
    "posix_fallocate": _writes,
    "read": _reads,
    "readv": _reads,
    "readinto": _reads,
    "pread": _reads,
    "preadv": _reads,
    "dup": _duplicated,
    "dup2": _duplicated,
    "sendfile": _copies((1, "in_fd"), (0, "out_fd")),
    "copy_file_range": _copies((0, "src"), (1, "dst")),
    "splice": _copies((0, "src"), (1, "dst")),
    "mkfifo": _made,
    "mknod": _made,
}
_IDENTITIES = (
    "setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "initgroups", "setsid", "setpgid", "setpgrp", "login_tty", "chroot", "unshare", "setns",
)  # fmt: skip

CLASSIFIERS: dict[str, Classifier] = {"mmap.__new__": _mapped, "fcntl.ioctl": _controlled, "fcntl.fcntl": _commanded}
"""The others are effects without an event."""


def patch() -> None:
    for name, classifier in _CALLS.items():
        patch_function(("os", "posix"), name, enforce(f"os.{name}", classifier))
    for name in _IDENTITIES:
        patch_function(("os", "posix"), name, enforce(f"os.{name}", _identity))
    patch_function(("signal", "_signal"), "set_wakeup_fd", enforce("signal.set_wakeup_fd", _writes))
    patch_function(("signal", "_signal"), "pidfd_send_signal", enforce("signal.pidfd_send_signal", _signalled))
