"""Microseconds since the epoch as the wire writes them, whatever an event claims its time to be."""

from __future__ import annotations

from vaultak.wire import format_ts

_LAST_US = 253_402_300_799_000_000
"""The end of the year 9999: what RFC 3339 and `datetime` can say."""


def moment(us: int) -> str:
    """RFC 3339 for a time that may lie outside what can be written: then the nearest that can."""
    return format_ts(min(max(us, 0), _LAST_US) / 1e6)
