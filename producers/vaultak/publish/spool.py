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
import zlib
from pathlib import Path

from vaultak.publish.frames import HEADER, MAX_BODY_BYTES, Damage, Message, marker_of, read_frames
from vaultak.publish.tape import Tape, make_tape

SEGMENT_BYTES = 4 * 1024 * 1024
DEFAULT_LIMIT_BYTES = 256 * 1024 * 1024

ORPHANS_AT_ONCE = 16
"""Each holds three descriptors, and they are the host program's."""

_POSITION = struct.Struct("<QQI")
"""Segment number and offset in it, delivered up to there; CRC-32 of both."""
_POSITION_CHECKED_BYTES = 16


class SpoolFullError(Exception):
    """The limit is reached; the message was not taken."""


class Spool:
    """One directory's queue. Raises `OSError` when the disk does not take it. Not thread-safe."""

    def __init__(self, directory: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES, tape: Tape | None = None) -> None:
        """`tape`: what writes; somebody else may write there too, as long as there is room in the segment."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self._marker = marker_of(directory.name)
        self._tape = make_tape() if tape is None else tape
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
        end = self._end_of(self._last) if numbers else 0
        self.corrupt = self.corrupt_bytes = 0
        """Stretches of damage that were passed over, frames that did not decode among them, and their size."""
        self._counted = (0, 0)
        number, offset, checksum = _POSITION.unpack_from(self._position)
        known = checksum == zlib.crc32(self._position[:_POSITION_CHECKED_BYTES])
        known = known and self._first <= number <= self._last and offset <= SEGMENT_BYTES
        self.read_segment, self.read_offset = (int(number), int(offset)) if known else (self._first, 0)
        if self.read_segment == self._last:
            end = max(end, self.read_offset)
        self._bound = bool(numbers)
        if self._bound:
            self._tape.bind(self._segment(self._last), end, self._marker)

    def _end_of(self, number: int) -> int:
        """Where to go on writing. Behind damage nothing is overwritten: there a new segment begins."""
        end = 0
        for found, behind in read_frames(self._segment(number), self._marker, 0, SEGMENT_BYTES):
            if isinstance(found, Damage):
                return SEGMENT_BYTES
            end = behind
        return end

    def _segment(self, number: int) -> mmap.mmap:
        if (segment := self._segments.get(number)) is None:
            segment = self._segments[number] = _map(self.directory / f"{number:010}.seg", SEGMENT_BYTES)
        return segment

    # -- writing -----------------------------------------------------------------------------------------------

    def append(self, body: bytes) -> None:
        """Take one encoded message. Raises `SpoolFullError`, or `OSError` when the disk is full."""
        if self._tape.append(body):
            return
        following = self._last + self._bound
        if following - self._first >= self._max_segments:
            raise SpoolFullError
        self._tape.bind(self._segment(following), 0, self._marker)
        self._last, self._bound = following, True
        if not self._tape.append(body):
            raise ValueError(f"a message of {len(body)} bytes is too large")

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def _end(self) -> int:
        return self._tape.offset if self._bound else 0

    @property
    def pending_bytes(self) -> int:
        """What has not been delivered yet, in bytes (whole segments in between count whole)."""
        return (self._last - self.read_segment) * SEGMENT_BYTES + self._end - self.read_offset

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]:
        """Up to `limit` undelivered messages in order, and the position behind them."""
        messages: list[Message] = []
        number, offset = self.read_segment, self.read_offset
        while len(messages) < limit and number <= self._last:
            end = self._end if number == self._last else SEGMENT_BYTES
            for found, behind in read_frames(self._segment(number), self._marker, offset, end):
                offset = behind
                if isinstance(found, Message):
                    messages.append(found)
                    if len(messages) >= limit:
                        return messages, (number, offset)
                else:
                    self._count(found, (number, behind))
            if number == self._last:
                return messages, (number, end)
            number, offset = number + 1, 0
        return messages, (number, offset)

    def _count(self, damage: Damage, behind: tuple[int, int]) -> None:
        """Count damage once, however often it is read before what lies around it could be delivered."""
        if behind > self._counted:
            self._counted = behind
            self.corrupt += 1
            self.corrupt_bytes += damage.size_bytes

    def delivered(self, position: tuple[int, int]) -> None:
        """Remember that everything before `position` has been delivered; frees whole segments."""
        checksum = zlib.crc32(_POSITION.pack(*position, 0)[:_POSITION_CHECKED_BYTES])
        _POSITION.pack_into(self._position, 0, *position, checksum)
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
        self._tape.release()
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
