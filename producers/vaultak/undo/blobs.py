"""Kept contents: linked where the file is about to lose its name, cloned where the file system can, else copied."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from pathlib import Path

from vaultak.undo import contents
from vaultak.undo.limits import UndoLimits

_NAME = re.compile(r"[0-9]{1,12}")


class TooLargeError(Exception):
    """The content is not kept; the message says why."""


class Blobs:
    """The contents kept for one instance. Raises `OSError` when the disk does not take them."""

    def __init__(self, directory: Path, limits: UndoLimits) -> None:
        self._directory = directory
        self._limits = limits
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [(e.name, e.stat(follow_symlinks=False)) for e in os.scandir(directory) if _NAME.fullmatch(e.name)]
        self._copied = {name: contents.room_bytes(info) for name, info in found if _is_copy(info)}
        self._total = sum(self._copied.values())
        self.last = max((int(name) for name, _ in found), default=0)
        """The highest name in use: one is never given twice, a blob may be the last trace of a content."""

    @property
    def total_bytes(self) -> int:
        """Of copies; a linked or cloned content takes no room of its own at first."""
        return self._total

    def __len__(self) -> int:
        return sum(1 for _ in os.scandir(self._directory))

    def keep(self, name: str, path: str, *, losing_name: bool) -> None:
        """Keep the content of `path`. `losing_name`: it is about to be deleted or replaced, not written to.

        Then the very file is kept under another name: brought back, it is linked to all that it was linked to.
        """
        kept = self.path(name)
        if losing_name:
            with contextlib.suppress(OSError):  # another file system: copy
                os.link(path, kept, follow_symlinks=False)
                return
        # Of what is no regular file (a pipe, a socket, a device) only a link can be kept: the copy says so.
        self._copy(path, kept)

    def put(self, name: str, content: bytes) -> None:
        """Keep a content that is known; it may be there already."""
        with contextlib.suppress(FileExistsError), open(self.path(name), "xb") as kept:
            kept.write(content)
            self._copied[name] = len(content)
            self._total += len(content)

    def _copy(self, path: str, kept: Path) -> None:
        # A pipe put there meanwhile would keep an ordinary open waiting.
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            info = os.fstat(source)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file any more")
            # Never truncate what is there: it may be a link to a user's file.
            copy = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self._fill(kept.name, source, copy, contents.room_bytes(info))
            finally:
                os.close(copy)
        finally:
            os.close(source)

    def _fill(self, name: str, source: int, copy: int, room: int) -> None:
        if contents.clone(source, copy):
            return
        if room > self._limits.file_bytes:
            raise TooLargeError(f"{room} bytes, at most {self._limits.file_bytes} of a file are kept")
        if self._total + room > self._limits.total_bytes:
            raise TooLargeError(f"{self._total} bytes are kept already, at most {self._limits.total_bytes} are")
        contents.copy(source, copy)
        self._copied[name] = room
        self._total += room

    def path(self, name: str) -> Path:
        """Where a blob is. Raises `ValueError` for a name that is not one: journals are not trusted with paths."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name[:40]}` is not the name of a kept content")
        return self._directory / name

    def drop(self, name: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.path(name).unlink()
            self._total -= self._copied.pop(name, 0)


def _is_copy(info: os.stat_result) -> bool:
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
