"""Where frames are written: the mapped segment of a spool. Compiled where that could be, in Python otherwise."""

from __future__ import annotations

import contextlib
import mmap
import zlib
from typing import Any, Protocol

from vaultak._native import core
from vaultak.publish.frames import HEADER, MAX_BODY_BYTES

PREPARED_AHEAD_BYTES = 16 * 1024
_PAGE_BYTES = mmap.PAGESIZE
_POPULATE_WRITE = 23
"""`MADV_POPULATE_WRITE` of Linux 5.14: the kernel provides pages in one go; one by one, on first touch, they cost
several times more."""


class Reader(Protocol):
    """Who empties what is written."""

    @property
    def idle(self) -> bool: ...

    def wake(self) -> None: ...


class Tape(Protocol):
    """Writes frames one behind the other. Not thread-safe in Python; compiled, it never lets go of the GIL."""

    reader: Reader | None
    """Whom a chain that writes here by itself has to wake."""

    @property
    def offset(self) -> int:
        """Where the next frame goes, in bytes from the segment's begin."""
        ...

    @property
    def direct(self) -> int:
        """Frames that chains wrote by themselves so far."""
        ...

    def bind(self, segment: mmap.mmap, offset: int, marker: int) -> None: ...

    def release(self) -> None:
        """Write nowhere."""
        ...

    def append(self, body: bytes) -> bool:
        """Write one frame; `False`, with nothing done, when there is no room for it."""
        ...


class PlainTape:
    """In Python."""

    def __init__(self, *, largest: int) -> None:
        self._segment: mmap.mmap | None = None
        self._largest = largest
        self._prepared = self.offset = self.direct = self._marker = 0
        self.reader: Reader | None = None

    def bind(self, segment: mmap.mmap, offset: int, marker: int) -> None:
        self._segment, self.offset, self._marker, self._prepared = segment, offset, marker, 0

    def release(self) -> None:
        self._segment = None

    def append(self, body: bytes) -> bool:
        segment, start, size = self._segment, self.offset, len(body)
        begin = start + HEADER.size
        if segment is None or size > self._largest or begin + size > len(segment):
            return False
        if start >= self._prepared:
            self._prepare(segment)
        # The header last: a reader, or the next process, sees a frame only when all of it is there.
        segment[begin : begin + size] = body
        HEADER.pack_into(segment, start, self._marker, size, zlib.crc32(body))
        self.offset = begin + size
        return True

    def _prepare(self, segment: mmap.mmap) -> None:
        start = self.offset - self.offset % _PAGE_BYTES
        size = min(PREPARED_AHEAD_BYTES, len(segment) - start)
        self._prepared = start + size
        with contextlib.suppress(OSError, ValueError, AttributeError):  # an older kernel, another system
            segment.madvise(_POPULATE_WRITE, start, size)


def make_tape() -> Tape:
    """One that nothing is bound to yet."""
    compiled: Any = getattr(core, "Tape", PlainTape)
    tape: Tape = compiled(largest=MAX_BODY_BYTES)
    return tape
