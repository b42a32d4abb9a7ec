"""Child processes that an agent started, and ending them with all their descendants. Linux; nothing elsewhere.

Processes are told apart by id and start time: an id that was used again is not the agent's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vaultak.ending.tasks import is_killed
from vaultak.governor import Governor

MAX_CHILDREN = 4096
"""Of all agents together; beyond it those that have ended are forgotten, then the oldest."""

SWEPT_FROM = 64
"""From so many on, whenever they have doubled, those that have ended are forgotten: they hold their governor."""

_PROC = Path("/proc")
_PGRP, _SESSION, _START = 2, 3, 19
"""Places in `/proc/<pid>/stat` behind the name."""


class Child(NamedTuple):
    pid: int
    started: str


_lock = threading.RLock()
_children: dict[Child, Governor] = {}
_sweep_at = SWEPT_FROM
_shells: dict[int, tuple[Governor, frozenset[int]]] = {}
"""Threads inside `os.system`, by native id: the agent, and the children that the thread had before."""


def add(governor: Governor, pid: int) -> None:
    """An agent started a process."""
    global _sweep_at
    stat = _stat(pid)
    if stat is None:
        return
    with _lock:
        _children[Child(pid, stat[_START])] = governor
        if len(_children) > _sweep_at:
            _forget_ended()
            while len(_children) > MAX_CHILDREN:
                del _children[next(iter(_children))]
            _sweep_at = min(max(SWEPT_FROM, 2 * len(_children)), MAX_CHILDREN)


@contextlib.contextmanager
def shell(governor: Governor) -> Iterator[None]:
    """Around `os.system`, which tells nobody what process it starts: new children of this thread are the agent's."""
    thread = threading.get_native_id()
    with _lock:
        _shells[thread] = (governor, frozenset(_of_thread(os.getpid(), thread)))
    try:
        yield
    finally:
        with _lock:
            _shells.pop(thread, None)


def end(agent_id: str) -> int:
    """Kill what the agent started and is still there, and all their descendants. Returns how many were found.

    Not what an agent of the same name started that is not killed: another client's, or one that was resumed.
    """

    def hit(governor: Governor) -> bool:
        return governor.agent_id == agent_id and is_killed(governor)

    with _lock:
        own = [child.pid for child, governor in _children.items() if hit(governor) and _lives(child)]
        for thread, (governor, before) in _shells.items():
            if hit(governor):
                own += set(_of_thread(os.getpid(), thread)) - before
    found = _stopped(own)
    for pid in found:
        _signal(pid, signal.SIGKILL)
    return len(found)


def _stopped(roots: Iterable[int]) -> set[int]:
    """The processes and their descendants, by parent, process group or session, each stopped as it is found."""
    found: set[int] = set()
    spared = {os.getpid(), 1}
    todo = [pid for pid in roots if pid not in spared]
    while todo:
        pid = todo.pop()
        stat = _stat(pid)
        if pid in found or pid in spared or stat is None or stat[0] == "Z":
            continue
        found.add(pid)
        _signal(pid, signal.SIGSTOP)
        todo += _descendants(pid)
        if stat[_PGRP] == str(pid) or stat[_SESSION] == str(pid):
            todo += _members(str(pid))
    return found


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        threads = [int(name) for name in os.listdir(_PROC / str(pid) / "task")]
        return [child for thread in threads for child in _of_thread(pid, thread)]
    return []


def _of_thread(pid: int, thread: int) -> list[int]:
    try:
        return [int(word) for word in (_PROC / str(pid) / "task" / str(thread) / "children").read_text().split()]
    except (OSError, ValueError):
        return []


def _members(leader: str) -> list[int]:
    """Who is in the process group or session of a leader, though its parent may be gone."""
    stats = ((int(name), _stat(int(name))) for name in os.listdir(_PROC) if name.isdigit())
    return [pid for pid, stat in stats if stat is not None and leader in (stat[_PGRP], stat[_SESSION])]


def _stat(pid: int) -> list[str] | None:
    """State, parent, process group, session ... of a process; `None` when it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _lives(child: Child) -> bool:
    stat = _stat(child.pid)
    return stat is not None and stat[_START] == child.started


def _forget_ended() -> None:
    for child in [child for child in _children if not _lives(child)]:
        del _children[child]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _children.clear()
    _shells.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
