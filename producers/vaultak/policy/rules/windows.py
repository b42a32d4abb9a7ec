"""The hours in which a rule is active, by the clocks of a place. Pure: the time is passed in."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Sequence

from vaultak.errors import PolicyError
from vaultak.policy.rules.tree import Day, Window

Active = Callable[[float], bool]
"""Whether a time, in seconds since the epoch, is within. Raises `OverflowError` for years that no calendar has."""


def compile_windows(windows: Sequence[Window]) -> Active:
    """Whether any of them holds. Raises `PolicyError` for a zone that is not known here, or a window of no length."""
    parts = tuple(_window(window, f"$.active[{n}]") for n, window in enumerate(windows))
    return parts[0] if len(parts) == 1 else lambda now_s: any(part(now_s) for part in parts)


def _window(window: Window, where: str) -> Active:
    start, end = minutes(window.start), minutes(window.end)
    if start == end:
        raise PolicyError(f"a window from `{window.start}` to `{window.end}` has no length - at `{where}.to`")
    zone = _zone(window.zone, where)
    order = list(Day)
    days = frozenset(map(order.index, window.days or order))
    following = frozenset((day + 1) % 7 for day in days)

    def within(now_s: float) -> bool:
        local = dt.datetime.fromtimestamp(now_s, zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if start < end:
            return day in days and start <= minute < end
        return (day in days and minute >= start) or (day in following and minute < end)

    return within


def minutes(clock: str) -> int:
    """Since midnight, of `HH:MM`."""
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def _zone(name: str, where: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a path that leads out
        raise PolicyError(f"there is no time zone `{name}` - at `{where}.zone`") from None
