"""Kept contents: linked where the file is about to lose its name, cloned where the file system can, else copied."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

from vaultak.undo.limits import UndoLimits

_NAME = re.compile(r"[0-9]{1,12}")
_FICLONE = 0x40049409  # linux/fs.h: share the extents of another file, copy on write


class TooLargeError(Exception):
    """The content is not kept; the message says why."""


class Blobs:
    """The contents kept for one instance. Raises `OSError` when the disk does not take them."""

    def __init__(self, directory: Path, limits: UndoLimits) -> None:
        self._directory = directory
        self._limits = limits
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = [(e.name, e.stat(follow_symlinks=False)) for e in os.scandir(directory) if e.is_file()]
        self._copied = {name: info.st_size for name, info in found if info.st_nlink == 1}
        self.last = max((int(name) for name, _ in found if _NAME.fullmatch(name)), default=0)
        """The highest name in use: one is never given twice, a blob may be the last trace of a content."""

    @property
    def total_bytes(self) -> int:
        """Of copies; a linked or cloned content takes no room of its own at first."""
        return sum(self._copied.values())

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
        self._copy(path, kept)

    def _copy(self, path: str, kept: Path) -> None:
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            # Never truncate what is there: it may be a link to a user's file.
            with open(kept, "xb") as copy:
                self._fill(kept.name, source, copy, size)

    def _fill(self, name: str, source: BinaryIO, copy: BinaryIO, size: int) -> None:
        if _clone(source.fileno(), copy.fileno()):
            return
        if size > self._limits.file_bytes:
            raise TooLargeError(f"{size} bytes, at most {self._limits.file_bytes} of a file are kept")
        if self.total_bytes + size > self._limits.total_bytes:
            raise TooLargeError(f"{self.total_bytes} bytes are kept already, at most {self._limits.total_bytes} are")
        shutil.copyfileobj(source, copy, 1024 * 1024)
        self._copied[name] = size

    def path(self, name: str) -> Path:
        """Where a blob is. Raises `ValueError` for a name that is not one: journals are not trusted with paths."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name[:40]}` is not the name of a kept content")
        return self._directory / name

    def drop(self, name: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.path(name).unlink()
            self._copied.pop(name, None)


def _clone(source_fd: int, copy_fd: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(copy_fd, _FICLONE, source_fd)
    except (OSError, ImportError):
        return False
    return True
