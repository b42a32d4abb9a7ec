"""The queue on disk: memory-mapped segments, so that what was put in survives the death of the process.

A directory per process and run holds numbered segments, a `position` (what has been delivered) and a `lock` that its
owner holds for life: a directory whose lock is free is an orphan, and whoever finds it delivers what is left. Writes
go to the page cache: a SIGKILL loses nothing, a power cut may lose the last moments.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
import struct
from pathlib import Path

from vaultak.publish.frames import HEADER, MAX_BODY_BYTES, Message, read_frames

SEGMENT_BYTES = 4 * 1024 * 1024
DEFAULT_LIMIT_BYTES = 256 * 1024 * 1024

ORPHANS_AT_ONCE = 16
"""Each holds three descriptors, and they are the host program's."""

_POSITION = struct.Struct("<QQ")  # segment number, offset in it: both delivered up to there


class SpoolFullError(Exception):
    """The limit is reached; the message was not taken."""


class Spool:
    """One directory's queue. Raises `OSError` when the disk does not take it. Not thread-safe."""

    def __init__(self, directory: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self._max_segments = max(2, limit_bytes // SEGMENT_BYTES)
        self._lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._position = _map(directory / "position", _POSITION.size)
            self._take_up()
        except (OSError, ValueError):
            os.close(self._lock_fd)
            raise

    def _take_up(self) -> None:
        """Go on where the last owner stopped. A position that cannot be is a corrupt one: all is delivered again."""
        self._segments: dict[int, mmap.mmap] = {}
        numbers = sorted(int(p.stem) for p in self.directory.glob("*.seg") if p.stem.isascii() and p.stem.isdigit())
        if numbers and numbers[-1] - numbers[0] >= len(numbers):
            raise ValueError(f"segments are missing in `{self.directory}`")
        self._first, self._last = (numbers[0], numbers[-1]) if numbers else (0, 0)
        self._write_offset = self._end_of(self._last) if numbers else 0
        number, offset = _POSITION.unpack_from(self._position)
        known = self._first <= number <= self._last and offset <= SEGMENT_BYTES
        self.read_segment, self.read_offset = (int(number), int(offset)) if known else (self._first, 0)
        if self.read_segment == self._last:
            self._write_offset = max(self._write_offset, self.read_offset)
        self.skipped = 0
        """Frames that were whole but did not decode."""

    def _end_of(self, number: int) -> int:
        return max((end for _, end in read_frames(memoryview(self._segment(number)), 0)), default=0)

    def _segment(self, number: int) -> mmap.mmap:
        if (segment := self._segments.get(number)) is None:
            segment = self._segments[number] = _map(self.directory / f"{number:010}.seg", SEGMENT_BYTES)
        return segment

    # -- writing -----------------------------------------------------------------------------------------------

    def append(self, frame: bytes) -> None:
        """Take one frame. Raises `SpoolFullError`, or `OSError` when the disk is full."""
        if self._write_offset + len(frame) + HEADER.size > SEGMENT_BYTES:
            if self._last - self._first + 1 >= self._max_segments:
                raise SpoolFullError
            self._segment(self._last + 1)
            self._last += 1
            self._write_offset = 0
        segment, start = self._segments.get(self._last) or self._segment(self._last), self._write_offset
        # The header last: a reader, or the next process, sees a frame only when all of it is there.
        segment[start + HEADER.size : start + len(frame)] = frame[HEADER.size :]
        segment[start : start + HEADER.size] = frame[: HEADER.size]
        self._write_offset = start + len(frame)

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def pending_bytes(self) -> int:
        """What has not been delivered yet, in bytes (whole segments in between count whole)."""
        return (self._last - self.read_segment) * SEGMENT_BYTES + self._write_offset - self.read_offset

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]:
        """Up to `limit` undelivered messages in order, and the position behind them."""
        messages: list[Message] = []
        number, offset = self.read_segment, self.read_offset
        while len(messages) < limit:
            view = memoryview(self._segment(number)) if number <= self._last else memoryview(b"")
            for message, behind in read_frames(view, offset):
                offset = behind
                if message is None:
                    self.skipped += 1
                else:
                    messages.append(message)
                if len(messages) >= limit:
                    break
            else:
                if number >= self._last:
                    break
                number, offset = number + 1, 0
        return messages, (number, offset)

    def delivered(self, position: tuple[int, int]) -> None:
        """Remember that everything before `position` has been delivered; frees whole segments."""
        _POSITION.pack_into(self._position, 0, *position)
        self.read_segment, self.read_offset = position
        while self._first < self.read_segment:
            if (segment := self._segments.pop(self._first, None)) is not None:
                with contextlib.suppress(BufferError):
                    segment.close()
            with contextlib.suppress(FileNotFoundError):
                (self.directory / f"{self._first:010}.seg").unlink()
            self._first += 1

    # -- the end -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of it; an empty one is removed, any other waits for whoever finds it."""
        empty = self.pending_bytes == 0
        self.abandon()
        if empty:
            shutil.rmtree(self.directory, ignore_errors=True)

    def abandon(self) -> None:
        """Let go without a trace on disk: what a forked child does with its parent's."""
        os.close(self._lock_fd)
        self._segments.clear()


def orphans(root: Path, own: Path | None, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> list[Spool]:
    """Up to 16 queues under `root` whose processes are gone, opened and locked; ask again for the rest."""
    found: list[Spool] = []
    with contextlib.suppress(OSError):
        for directory in sorted(p for p in root.iterdir() if p.is_dir() and p != own and (p / "lock").exists()):
            with contextlib.suppress(OSError, ValueError):
                found.append(Spool(directory, limit_bytes=limit_bytes))
            if len(found) >= ORPHANS_AT_ONCE:
                break
    return found


def _map(path: Path, size: int) -> mmap.mmap:
    """A file of `size` bytes, its blocks reserved: a full disk is an error here, not a SIGBUS later."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(fd).st_size < size:
            _reserve(fd, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


def _reserve(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:  # macOS
        os.ftruncate(fd, size)


assert MAX_BODY_BYTES + HEADER.size * 2 <= SEGMENT_BYTES
