"""Files that an agent holds open.

What goes through a descriptor belongs to the action that opened it. A descriptor that somebody else opened (the host
before the monitor began, another agent) is judged when it is first used, as if it were opened then.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaultak.governor import current
from vaultak.intercept import paths
from vaultak.intercept.effect import NONE, Effect, Effects
from vaultak.intercept.plain import number
from vaultak.wire import ActionType

if TYPE_CHECKING:
    from vaultak.undo import UndoLog

MAX_HELD = 4096
"""Files remembered as opened; using a descriptor of one forgotten is an action of its own, nothing else."""

STANDARD_STREAMS = (0, 1, 2)
_CLOSED = (-1, -1)
_TERMINALS = ("/dev/pts/", "/dev/tty", "/dev/console", "/dev/ptmx")
INERT = frozenset({"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random"})
"""Devices that hold nothing and keep nothing."""

_streams: dict[int, tuple[int, int]] = {}
"""What the standard streams are, as the host left them: device and inode."""

Journal = Callable[["UndoLog", str], object]

_held: OrderedDict[tuple[str, str, bool], None] = OrderedDict()
"""Agent, path, and whether it may write."""


def note_streams() -> None:
    """Remember what the standard streams are. To be called outside every monitor: an agent can put a file there."""
    _streams.update((fd, _identity(fd)) for fd in STANDARD_STREAMS)


def is_stream(fd: int) -> bool:
    """Whether a descriptor is a standard stream, and still what the host left there."""
    return fd in STANDARD_STREAMS and _streams.get(fd, _CLOSED) == _identity(fd) != _CLOSED


def _identity(fd: int) -> tuple[int, int]:
    try:
        found = os.fstat(fd)
    except OSError:
        return _CLOSED
    return found.st_dev, found.st_ino


def keep_content(path: str) -> Journal:
    """Journals the content of a file that is about to be overwritten."""
    return lambda undo, action_id: undo.before_write(action_id, path)


def remember(path: str, *, writes: bool) -> Callable[[str], None]:
    """To be called once the action is allowed: from then on the agent holds the file."""

    def allowed(_action_id: str) -> None:
        if (governor := current()) is not None:
            _held[governor.agent_id, path, writes] = None
            while len(_held) > MAX_HELD:
                _held.popitem(last=False)

    return allowed


def _holds(agent_id: str, path: str, writes: bool) -> bool:
    return (agent_id, path, True) in _held or (not writes and (agent_id, path, False) in _held)


def through(fd: object, op: str, *, writes: bool) -> Effects:
    """What using a descriptor does to the file behind it; nothing where there is none: a pipe, a socket, a terminal."""
    if not isinstance(fd, int):
        return NONE
    fd = number(fd)
    if is_stream(fd):
        return NONE
    path, governor = paths.of_descriptor(fd), current()
    if path is None or governor is None or path in INERT or path.startswith(_TERMINALS):
        return NONE
    if _holds(governor.agent_id, path, writes) or _is_nameless(fd):
        return NONE
    payload = {"op": op, "fd": fd}
    kind, journal = (ActionType.FILE_WRITE, keep_content(path)) if writes else (ActionType.FILE_READ, None)
    return (Effect(kind, paths.printable(path), payload, journal, "", remember(path, writes=writes)),)


def _is_nameless(fd: int) -> bool:
    """A temporary file without a name, a file in memory: nobody else will find what is written."""
    try:
        return os.fstat(fd).st_nlink == 0
    except OSError:
        return True
