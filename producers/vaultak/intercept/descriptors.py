"""Effects through open descriptors and identities, for which Python raises no event: judged by patches."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

from vaultak.governor import current
from vaultak.intercept import paths
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.files import is_open_for_writing, keep_content
from vaultak.intercept.patching import patch_function
from vaultak.intercept.sockets import is_judged, resource_of
from vaultak.wire import ActionType

_STANDARD_STREAMS = (0, 1, 2)


def _written(fd: object, op: str) -> Effects:
    """What writing to a descriptor does: to a file, or to the peer of a socket; nothing through a pipe."""
    if not isinstance(fd, int) or fd in _STANDARD_STREAMS:
        return NONE
    path = paths.of_descriptor(fd)
    if path is not None:
        governor = current()
        if path.startswith("/dev/") or governor is None or is_open_for_writing(governor.agent_id, path):
            return NONE
        return (Effect(ActionType.FILE_WRITE, paths.printable(path), {"op": op, "fd": fd}, keep_content(path)),)
    return _sent_through(fd, op)


def _sent_through(fd: int, op: str) -> Effects:
    if is_judged(fd):
        return NONE
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            family, peer = sock.family, sock.getpeername()
    except OSError:
        return NONE
    if not peer:
        return NONE
    resource, payload = resource_of(family, peer)
    return (Effect(ActionType.NETWORK_REQUEST, resource, payload | {"op": op, "fd": fd}),)


def _first(o: Occurrence) -> Effects:
    return _written(o.args[0] if o.args else None, o.event)


def _destination(position: int, *keywords: str) -> Classifier:
    def classify(o: Occurrence) -> Effects:
        if len(o.args) > position:
            return _written(o.args[position], o.event)
        kwargs = o.call.kwargs if o.call is not None else {}
        return _written(next((kwargs[k] for k in keywords if k in kwargs), None), o.event)

    return classify


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


_WRITES: dict[str, Classifier] = {
    "write": _first,
    "writev": _first,
    "pwrite": _first,
    "pwritev": _first,
    "posix_fallocate": _first,
    "sendfile": _destination(0, "out_fd"),
    "copy_file_range": _destination(1, "dst"),
    "splice": _destination(1, "dst"),
    "mkfifo": _made,
    "mknod": _made,
}
_IDENTITIES = (
    "setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "initgroups", "setsid", "setpgid", "chroot", "unshare", "setns",
)  # fmt: skip

CLASSIFIERS: dict[str, Classifier] = {}
"""None: these are the effects without an event."""


def patch() -> None:
    for name, classifier in _WRITES.items():
        patch_function(("os", "posix"), name, enforce(f"os.{name}", classifier))
    for name in _IDENTITIES:
        patch_function(("os", "posix"), name, enforce(f"os.{name}", _identity))
    patch_function(("signal", "_signal"), "pidfd_send_signal", enforce("signal.pidfd_send_signal", _signalled))
