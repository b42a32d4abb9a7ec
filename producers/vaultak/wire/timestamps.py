"""RFC 3339 timestamps in UTC with microseconds, as the wire carries them."""

from __future__ import annotations

import datetime as dt

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


_last_second: tuple[int, str] = (-1, "")
"""The second that was formatted last, and its text: a stream of events pays for the date once a second."""


def format_ts(epoch_s: float) -> str:
    """Seconds since the epoch as `2026-03-02T08:08:42.539518Z`."""
    global _last_second
    second, microsecond = divmod(round(epoch_s * 1e6), 1_000_000)
    known, text = _last_second
    if known != second:
        text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _last_second = (second, text)
    return f"{text}{microsecond:06d}Z"


def parse_ts_us(text: str) -> int:
    """Microseconds since the epoch, exactly. Raises `ValueError` on anything but an RFC 3339 time with an offset."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp `{text[:64]}` has no UTC offset")
    return (moment - _EPOCH) // _MICROSECOND


def parse_ts(text: str) -> float:
    """Seconds since the epoch. Raises `ValueError` as `parse_ts_us` does."""
    return parse_ts_us(text) / 1e6
