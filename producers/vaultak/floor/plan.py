"""What a stopped system call is about to do, and how it will be done once it is allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from vaultak.floor.places import Finder, Place
from vaultak.floor.tracee import Tracee, signed
from vaultak.intercept.effect import Effect, Effects
from vaultak.intercept.paths import printable
from vaultak.wire import ActionType

if TYPE_CHECKING:
    from vaultak.undo import UndoLog


class Descriptor(NamedTuple):
    """The call returns this open file; whoever answers closes ours."""

    fd: int
    close_on_exec: bool


class Passed(NamedTuple):
    """The kernel goes on with the call itself, looking at its arguments anew."""


PASS = Passed()
Answer = Descriptor | Passed | int
"""An `int` is what the call returns."""

Perform = Callable[[], Answer]
"""Acts in the supervisor, on what was judged. Raises `OSError`: the call fails with that errno."""


class Plan(NamedTuple):
    """`effects` are judged in order; when all are allowed, `perform` answers."""

    effects: Effects
    perform: Perform
    may_block: bool = False
    """It can take as long as others please: not on the thread that receives."""
    needs_rights: bool = True
    """Acts with the supervisor's rights, so only for callers that have the same."""
    system: bool = False
    """A read that programs do to be able to run: on record only when it is denied."""


class Request:
    """One stopped call with its caller. Valid inside the `with` of its tracee and finder."""

    def __init__(self, name: str, arguments: tuple[int, ...], tracee: Tracee, finder: Finder) -> None:
        self.name = name
        self.arguments = arguments
        self.tracee = tracee
        self.finder = finder

    def __getitem__(self, index: int) -> int:
        return self.arguments[index]

    def protects(self, pid: int) -> bool:
        """Whether a signal to `pid`, as in `kill`, reaches the supervisor: one of its threads, its group, everyone."""
        if pid == -1:
            return True
        return -pid == os.getpgrp() if pid < 0 else os.path.isdir(f"/proc/self/task/{pid}")

    def integer(self, index: int) -> int:
        """An argument as a signed `int`."""
        return signed(self.arguments[index])

    def text(self, index: int) -> bytes:
        return self.tracee.text(self.arguments[index])

    def place(self, directory: int, name: int, *, follow: bool = True) -> Place:
        """The place that the argument at index `name` leads to, from the directory given as a descriptor."""
        return self.finder.find(directory, self.text(name), follow=follow)


def passing(_: Request | None = None) -> Plan:
    """None of our business."""
    return Plan((), lambda: PASS, needs_rights=False)


@contextmanager
def umask_of(tracee: Tracee) -> Iterator[None]:
    """What is made inside gets its mode from the caller's umask. For threads with `kernel.own_umask`."""
    before = os.umask(tracee.umask())
    try:
        yield
    finally:
        os.umask(before)


def file_effect(kind: ActionType, path: str, op: str, **payload: object) -> Effect:
    """An effect on a file, without a journal."""
    return Effect(kind, printable(path), {"op": op, **payload})


def keep_content(path: str) -> Callable[[UndoLog, str], object]:
    """Journals what a file holds before it is overwritten."""
    return lambda undo, action_id: undo.before_write(action_id, path)


def is_file(place: Place) -> bool:
    """Whether a place has a name in the file tree (a pipe or a socket has none)."""
    return place.path.startswith("/")
