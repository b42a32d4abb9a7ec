"""Copies what a file holds: cloned where the file system shares blocks, else piece by piece, holes left as holes."""

from __future__ import annotations

import errno
import os
import stat

_FICLONE = 0x40049409  # linux/fs.h: share the extents of another file, copy on write
_PIECE_BYTES = 1024 * 1024


def clone(source: int, target: int) -> bool:
    """Make `target` share all blocks of `source`, replacing what it holds. False where the file system cannot."""
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (OSError, ImportError):
        return False
    return True


def room_bytes(info: os.stat_result) -> int:
    """What a copy of the file takes on disk: holes take nothing."""
    return min(info.st_size, getattr(info, "st_blocks", info.st_size) * 512 or info.st_size)


def read_small(path: str, limit: int) -> bytes | None:
    """What a regular file of at most `limit` bytes holds; `None` for any other. Raises `OSError`."""
    # A pipe put there meanwhile would keep an ordinary open waiting.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
            return None
        content = os.read(fd, limit + 1)
        return content if len(content) <= limit else None
    finally:
        os.close(fd)


def write(content: bytes, target: int) -> None:
    """Write `content` into `target`, from its start, and cut off what is behind."""
    done = 0
    while done < len(content):
        done += os.pwrite(target, content[done:], done)
    os.ftruncate(target, len(content))


def copy(source: int, target: int) -> None:
    """Write all that `source` holds into `target`, from its start, and cut off what is behind. Raises `OSError`.

    Cut short at any point and run again, it ends the same.
    """
    size = os.fstat(source).st_size
    if _has_holes(source, size):
        os.ftruncate(target, 0)  # frees the blocks, so that the holes come back as holes
    at = 0
    while (start := _next_data(source, at, size)) < size:
        at = _next_hole(source, start, size)
        _copy_range(source, target, start, at)
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        piece = os.pread(source, min(_PIECE_BYTES, end - start), start)
        if not piece:
            raise OSError(errno.EIO, "the kept content ends early")
        done = 0
        while done < len(piece):
            done += os.pwrite(target, piece[done:], start + done)
        start += len(piece)


def _has_holes(fd: int, size: int) -> bool:
    return _next_hole(fd, 0, size) < size


def _next_data(fd: int, at: int, size: int) -> int:
    if at >= size:
        return size
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except AttributeError:
        return at
    except OSError as e:
        if e.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size
        return at


def _next_hole(fd: int, at: int, size: int) -> int:
    if at >= size:
        return size
    try:
        return os.lseek(fd, at, os.SEEK_HOLE)
    except (OSError, AttributeError):
        return size
