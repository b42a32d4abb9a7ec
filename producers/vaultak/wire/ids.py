"""UUIDv7 identifiers (RFC 9562): time-ordered, so that stores keep them next to each other and compress them."""

from __future__ import annotations

import hashlib
import os
import time

_HEX_VARIANT = "89ab"
_DRAWN_AHEAD = 64


def _format(ms: int, tail: bytes) -> str:
    """Lay out 48 bits of time and 74 of `tail` (10 bytes) as RFC 9562 wants them."""
    t = f"{ms & 0xFFFFFFFFFFFF:012x}"
    return f"{t[:8]}-{t[8:]}-{_tail(tail)}"


def _tail(random: bytes) -> str:
    """The part of an id behind its time."""
    r = random.hex()
    return f"7{r[:3]}-{_HEX_VARIANT[random[9] & 3]}{r[3:6]}-{r[6:18]}"


_last_ms: tuple[int, str] = (-1, "")
"""The last millisecond and its text, as ids begin with it."""

_tails: list[str] = []
"""Random parts drawn ahead: one system call serves many. Never shared with a forked child."""


def uuid7() -> str:
    """A fresh UUIDv7 from the wall clock and the system's random source. Thread-safe."""
    try:
        tail = _tails.pop()
    except IndexError:
        tail = _draw()
    global _last_ms
    ms = time.time_ns() // 1_000_000
    known, head = _last_ms
    if known != ms:
        t = f"{ms:012x}"
        head = f"{t[:8]}-{t[8:]}-"
        _last_ms = (ms, head)
    return head + tail


def _draw() -> str:
    """One random part of an id; more are left for the next ones."""
    drawn = os.urandom(10 * _DRAWN_AHEAD)
    texts = [_tail(drawn[i : i + 10]) for i in range(0, len(drawn), 10)]
    _tails.extend(texts[1:])
    return texts[0]


def derived_uuid7(ts_us: int, *parts: str) -> str:
    """The same UUIDv7 for the same time and parts, always.

    What a stream step creates (a command, an incident) must get the same id when the step runs again after a
    crash, so that consumers can drop the second copy.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return _format(ts_us // 1000, digest[:10])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tails.clear)
