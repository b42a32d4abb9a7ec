"""RFC 3339 timestamps in UTC with microseconds, as the wire carries them."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def format_ts(epoch_s: float) -> str:
    """Seconds since the epoch as `2026-03-02T08:08:42.539518Z`."""
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_ts_us(text: str) -> int:
    """Microseconds since the epoch, exactly. Raises `ValueError` on anything but an RFC 3339 time with an offset."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp `{text[:64]}` has no UTC offset")
    return (moment - _EPOCH) // _MICROSECOND


def parse_ts(text: str) -> float:
    """Seconds since the epoch. Raises `ValueError` as `parse_ts_us` does."""
    return parse_ts_us(text) / 1e6
