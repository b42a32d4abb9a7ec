"""Recorded events: JSON lines, plain or gzipped, read as a stream."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vaultak.errors import VaultakError

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is cut here: what is left of it is too large to be an event anyway, and is counted as one line."""

_GZIP_MAGIC = b"\x1f\x8b"


class RecordingError(VaultakError):
    """A recording that cannot be read."""


def open_recording(path: Path) -> IO[bytes]:
    """The recording's bytes, unpacked if they are gzipped, whatever the file is called."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file, "rb") if magic == _GZIP_MAGIC else file  # type: ignore[return-value]


def read_lines(path: Path) -> Iterator[bytes]:
    """Each line that is not blank, without its end. Memory stays bounded whatever the file holds.

    Raises `RecordingError` naming the file when it cannot be read or is damaged.
    """
    try:
        with open_recording(path) as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
                    _skip_rest(lines)
                if line := line.strip():
                    yield line
    except (OSError, EOFError, zlib.error) as e:
        raise RecordingError(f"recording `{path}`: {e}") from None


def _skip_rest(lines: IO[bytes]) -> None:
    while (rest := lines.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass
