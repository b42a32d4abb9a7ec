"""Small drawings in a page, as numbers for SVG: sparklines and columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

WIDTH, HEIGHT = 120.0, 24.0


class Spark(msgspec.Struct, frozen=True):
    """A line over minutes: the `points` of a polyline in a box of 120 by 24; its last and highest value (0..1)."""

    points: str
    peak: float
    dots: tuple[tuple[float, float], ...]
    """Where a value of 0.7 or more is."""


class Column(msgspec.Struct, frozen=True):
    """One minute of the fleet. Heights are shares (0..1) of the busiest minute."""

    x: float
    height: float
    stopped: float
    actions: int
    minute: dt.datetime


def spark(values: Sequence[Sequence[float]], minutes: int) -> Spark:
    """`values`: (minutes ago, value 0..1), in any order. A minute without one is drawn at the bottom."""
    by_minute = {int(ago): float(value) for ago, value in values if 0 <= ago < minutes}
    step = WIDTH / max(1, minutes - 1)
    points, dots = [], []
    for ago in range(minutes - 1, -1, -1):
        x = (minutes - 1 - ago) * step
        value = min(1.0, by_minute.get(ago, 0.0))
        y = HEIGHT - 1.5 - value * (HEIGHT - 3)
        points.append(f"{x:.1f},{y:.1f}")
        if value >= 0.7:
            dots.append((round(x, 1), round(y, 1)))
    return Spark(" ".join(points), max(by_minute.values(), default=0.0), tuple(dots))


def columns_of_minutes(rows: Iterable[Mapping[str, Any]], now: dt.datetime, minutes: int) -> list[Column]:
    """One column a minute, the oldest first, those without actions among them."""
    by_minute = {row["minute"].replace(tzinfo=dt.UTC): row for row in rows}
    top = max((int(row["actions"]) for row in by_minute.values()), default=0) or 1
    start = now.replace(second=0, microsecond=0) - dt.timedelta(minutes=minutes - 1)
    columns = []
    for n in range(minutes):
        minute = start + dt.timedelta(minutes=n)
        row = by_minute.get(minute)
        actions, stopped = (int(row["actions"]), int(row["stopped"])) if row else (0, 0)
        columns.append(Column(float(n), actions / top, stopped / top, actions, minute))
    return columns
