"""When a file was born: Python's `os.stat` does not say on Linux, the C library's `statx` does."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_BUFFER_BYTES = 256
_MASK = struct.Struct("<I")
_BTIME = struct.Struct("<qI")
_BTIME_OFFSET = 80


def _by_statx() -> Callable[[str], int] | None:
    try:
        statx = ctypes.CDLL(None, use_errno=True).statx
    except (OSError, AttributeError):
        return None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)

    def born(path: str) -> int:
        buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
        if statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer) != 0:
            return 0
        if not _MASK.unpack_from(buffer)[0] & _STATX_BTIME:
            return 0  # this file system does not keep it
        seconds, nanoseconds = _BTIME.unpack_from(buffer, _BTIME_OFFSET)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    return born


def _by_stat(path: str) -> int:
    return int(getattr(os.lstat(path), "st_birthtime", 0) * 1_000_000_000)


born_ns: Callable[[str], int] = _by_statx() or _by_stat
"""Nanoseconds since the epoch; 0 where the system or the file system does not know. Never follows a link."""
