"""The file of anchors: one signed line each, appended and synced; nothing in it is ever changed.

`data_dir/anchors/sink-<n>.jsonl`: each sink that runs at the same time has a file of its own, and goes on with one that
is free. Copy them to where whoever administers the store cannot write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vaultak.wire import Anchor, Head, format_ts
from vaultak.wire.codec import UNREADABLE
from vaultak_streams.audit.anchors import FIRST, digest, signed

EVERY_S = 60.0
"""A chain that goes on is anchored this often: what is cut off within it does not show."""

MAX_PENDING = 50_000
"""Chains that wait for the next anchor; with more it is written at once."""

MAX_HEADS = 500
"""In one anchor: it has to fit into a Kafka message with the longest names."""

MAX_WRITERS = 64

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Anchor)


def anchors_dir(data_dir: Path) -> Path:
    return data_dir / "anchors"


class AnchorFile:
    """Appends anchors. Not thread-safe. Raises `OSError`."""

    def __init__(self, data_dir: Path, key: Ed25519PrivateKey, *, every_s: float = EVERY_S) -> None:
        self._key = key
        self._every_s = every_s
        self._due_at = time.monotonic() + every_s
        self._pending: dict[tuple[str, str], Head] = {}
        self.path, self._file = _take(anchors_dir(data_dir))
        self._number, self._last = _go_on(self._file)

    def note(self, heads: Mapping[tuple[str, str], Head]) -> None:
        """These events are stored."""
        for chain, head in heads.items():
            if chain not in self._pending or self._pending[chain].seq < head.seq:
                self._pending[chain] = head

    @property
    def due(self) -> bool:
        return bool(self._pending) and (time.monotonic() >= self._due_at or len(self._pending) >= MAX_PENDING)

    def write(self) -> list[bytes]:
        """Anchor what was noted since the last time, durably; returns the lines, one for each 500 chains."""
        self._due_at = time.monotonic() + self._every_s
        lines = []
        while self._pending:
            chains = list(islice(self._pending, MAX_HEADS))
            lines.append(self._write([self._pending[chain] for chain in chains]))
            for chain in chains:
                del self._pending[chain]
        if lines:
            os.fsync(self._file.fileno())
        return lines

    def _write(self, heads: Iterable[Head]) -> bytes:
        anchor = Anchor(ts=format_ts(time.time()), number=self._number, prev_hash=self._last, heads=tuple(heads))
        line = _encode(signed(anchor, self._key)) + b"\n"
        at = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(at)
            raise
        self._number, self._last = self._number + 1, digest(line)
        return line

    def close(self) -> None:
        self._file.close()


class Line(msgspec.Struct, frozen=True):
    """A line of a file of anchors: what it says, or what is wrong about it."""

    source: str
    number: int
    anchor: Anchor | None
    flaw: str = ""


def read_anchors(data_dir: Path) -> Iterator[Line]:
    """Every line of every file, with flaws of form and order; signatures are the caller's to check."""
    for path in sorted(anchors_dir(data_dir).glob("*.jsonl")):
        with path.open("rb") as file:
            yield from _lines(path, file)


def _lines(path: Path, file: IO[bytes]) -> Iterator[Line]:
    number, before = 0, FIRST
    for line in file:
        if not line.endswith(b"\n"):
            return  # cut short by a crash of its writer, who takes it back
        try:
            anchor = _decoder.decode(line)
        except UNREADABLE as e:
            yield Line(path.name, number, None, f"is no anchor: {e}")
        else:
            flaw = "" if (anchor.number, anchor.prev_hash) == (number, before) else "does not follow the one before it"
            yield Line(path.name, number, anchor, flaw)
            number = anchor.number
        number, before = number + 1, digest(line)


def _take(directory: Path) -> tuple[Path, IO[bytes]]:
    """The first file that no other sink has."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(1, MAX_WRITERS + 1):
        path = directory / f"sink-{number}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return path, file
    raise OSError(f"`{directory}`: {MAX_WRITERS} sinks write anchors here already")


def _go_on(file: IO[bytes]) -> tuple[int, str]:
    """The next number and the hash before it. Takes back a last line that a crash cut short."""
    last, whole = b"", 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            file.truncate(whole)
            break
        last, whole = line, whole + len(line)
    if not last:
        return 0, FIRST
    try:
        return _decoder.decode(last).number + 1, digest(last)
    except UNREADABLE:  # somebody wrote into it: `read_anchors` tells, here it goes on
        return 0, digest(last)
