"""Moving a directory moves all that is in it: what an agent may not touch does not move with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vaultak.governor import current
from vaultak.intercept import paths
from vaultak.intercept.effect import Effect
from vaultak.wire import ActionType

MAX_ENTRIES = 4096
"""Entries looked at in one directory that is moved."""


def within(old: str, new: str, op: str) -> tuple[Effect, ...]:
    """The effects on an entry that the running agent is forbidden to remove there, or to write here: the first found.

    Empty for what is no directory, and where nobody says what is forbidden. What lies deeper than `MAX_ENTRIES` is
    not looked at.
    """
    forbids = getattr(current(), "forbids", None)
    if forbids is None or not paths.is_directory(old):
        return ()
    for entry in _entries(old):
        gone, made = os.path.join(old, entry), os.path.join(new, entry)
        for kind, path in ((ActionType.FILE_DELETE, gone), (ActionType.FILE_WRITE, made)):
            if forbids(kind, shown := paths.printable(path)):
                return (Effect(kind, shown, {"op": op, "moved_with": paths.printable(old)}),)
    return ()


def _entries(root: str) -> Iterator[str]:
    """Paths below a directory, relative to it, nearest first; links are not followed."""
    waiting, seen = [""], 0
    while waiting:
        below = waiting.pop(0)
        try:
            with os.scandir(os.path.join(root, below)) as found:
                for entry in found:
                    seen += 1
                    if seen > MAX_ENTRIES:
                        return
                    path = os.path.join(below, entry.name)
                    yield path
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
        except OSError:
            continue
