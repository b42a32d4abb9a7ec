"""The journal on disk: a line per record, each with its checksum; appended before the action runs.

`write(2)` without `fsync`: survives the death of the process at any point, not a power cut. A torn last line is
what the death left; nothing after it is believed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vaultak.undo.entries import Begun, Created, Done, Entry, Settled, Started, recode, recode_state, to_name, to_text

MAX_LINE_BYTES = 1024 * 1024

Record = Entry | Created | Settled | Begun | Started | Done


class _Tagged(msgspec.Struct, tag="entry"):
    entry: Entry


_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(_Tagged | Created | Settled | Begun | Started | Done)


class Journal:
    """One instance's journal, locked for as long as it is open. Raises `OSError`; `BlockingIOError` when in use."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(directory / "journal", flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._drop_torn_tail()
        except OSError:
            os.close(self._fd)
            raise

    def append(self, record: Record) -> None:
        body = _encode(_for_json(record))
        line = b"%08x %b\n" % (zlib.crc32(body), body)
        if len(line) > MAX_LINE_BYTES:
            raise OSError(errno.EFBIG, "a record of the undo journal is too long")
        written = os.write(self._fd, line)
        if written != len(line):
            # A full disk took a part of it: what follows a torn line would not be believed.
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise OSError(errno.ENOSPC, "no space for the undo journal")

    def read(self) -> Iterator[Record]:
        """Every whole record, in order."""
        for record, _ in self._records():
            yield record

    def _records(self) -> Iterator[tuple[Record, int]]:
        end = 0
        with open(self.directory / "journal", "rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                record = _parse(line)
                if record is None:
                    return
                end += len(line)
                yield record, end

    def _drop_torn_tail(self) -> None:
        end = max((end for _, end in self._records()), default=0)
        if os.fstat(self._fd).st_size > end:
            os.ftruncate(self._fd, end)

    def rewrite(self, records: list[Record]) -> None:
        """Replace all by these, atomically."""
        path, temporary = self.directory / "journal", self.directory / "journal.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        old, self._fd = self._fd, fd
        for record in records:
            self.append(record)
        temporary.replace(path)
        os.close(old)

    def close(self) -> None:
        os.close(self._fd)


def _for_json(record: Record) -> object:
    match record:
        case Entry():
            return _Tagged(recode(record, to_text))
        case Settled():
            return Settled(record.n, recode_state(record.state, to_text))
        case _:
            return record


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n") or len(line) < 10:
        return None
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:-1]):
            return None
        record = _decoder.decode(line[9:-1])
        if isinstance(record, Settled):
            return Settled(record.n, recode_state(record.state, to_name))
        return recode(record.entry, to_name) if isinstance(record, _Tagged) else record
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
