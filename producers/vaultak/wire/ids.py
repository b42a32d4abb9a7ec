"""UUIDv7 identifiers (RFC 9562): time-ordered, so that stores keep them next to each other and compress them."""

from __future__ import annotations

import hashlib
import os
import time

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_DRAWN_AHEAD = 64
_RANDOM_BYTES = 10


def _format(ms: int, random: str) -> str:
    """Lay out 48 bits of time and 74 of `random` (20 hex digits) as RFC 9562 wants them."""
    t = f"{ms & 0xFFFFFFFFFFFF:012x}"
    return f"{t[:8]}-{t[8:]}-{_tail(random)}"


def _tail(r: str) -> str:
    """The part of an id behind its time."""
    return f"7{r[:3]}-{_VARIANT[r[19]]}{r[3:6]}-{r[6:18]}"


_last_ms: tuple[int, str] = (-1, "")
"""The last millisecond and its text, as ids begin with it."""

_drawn: list[str] = []
"""Random parts drawn ahead, in hex: one system call serves many. Never shared with a forked child."""


def uuid7() -> str:
    """A fresh UUIDv7 from the wall clock and the system's random source. Thread-safe."""
    try:
        random = _drawn.pop()
    except IndexError:
        random = _draw()
    global _last_ms
    ms = time.time_ns() // 1_000_000
    known, head = _last_ms
    if known != ms:
        t = f"{ms:012x}"
        head = f"{t[:8]}-{t[8:]}-"
        _last_ms = (ms, head)
    return head + _tail(random)


def _draw() -> str:
    """One random part of an id; more are left for the next ones."""
    size = 2 * _RANDOM_BYTES
    digits = os.urandom(_RANDOM_BYTES * _DRAWN_AHEAD).hex()
    _drawn.extend([digits[i : i + size] for i in range(size, len(digits), size)])
    return digits[:size]


def derived_uuid7(ts_us: int, *parts: str) -> str:
    """The same UUIDv7 for the same time and parts, always.

    What a stream step creates (a command, an incident) must get the same id when the step runs again after a
    crash, so that consumers can drop the second copy.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return _format(ts_us // 1000, digest[:_RANDOM_BYTES].hex())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)
