"""How often an agent acts: exponentially decaying counts over a minute, ten minutes, an hour."""

from __future__ import annotations

import math

import msgspec

from vaultak_models.baseline.moments import Moments, Positive, Time

WINDOWS = 2.0
"""Horizons after which the highest count since is learnt: an agent that works in bursts is used to its bursts."""
ENOUGH = 5
"""Windows until there is a usual count."""
LEAST_DEVIATION = 0.35


class Rate(msgspec.Struct, array_like=True, gc=False):
    """One horizon: the decayed count now, the highest in this window, and what the highest usually is."""

    count: Positive = 0.0
    peak: Positive = 0.0
    since_us: Time = 0
    usual: Moments = msgspec.field(default_factory=Moments)

    def excess(self, slack: float) -> float:
        """Standard deviations by which this action makes the count exceed the usual peak, on a logarithmic scale.

        Less `slack`, bounded.
        """
        usual = self.usual
        return usual.above(math.log(self.count + 2.0), LEAST_DEVIATION, slack) if usual.n >= ENOUGH else 0.0

    def learn(self, ts_us: int, window_us: float) -> None:
        if self.count > self.peak:
            self.peak = self.count
        if not self.since_us:
            self.since_us = ts_us
        elif ts_us - self.since_us >= window_us:
            self.usual.add(math.log1p(self.peak))
            self.peak, self.since_us = self.count, ts_us


class Rates(msgspec.Struct, array_like=True, gc=False):
    """All horizons."""

    minute: Rate = msgspec.field(default_factory=Rate)
    ten_minutes: Rate = msgspec.field(default_factory=Rate)
    hour: Rate = msgspec.field(default_factory=Rate)

    def decay(self, elapsed_s: float) -> None:
        """Let time pass."""
        self.minute.count *= math.exp(-elapsed_s / 60.0)
        self.ten_minutes.count *= math.exp(-elapsed_s / 600.0)
        self.hour.count *= math.exp(-elapsed_s / 3600.0)

    def add(self) -> None:
        """An action came."""
        self.minute.count += 1.0
        self.ten_minutes.count += 1.0
        self.hour.count += 1.0

    def learn(self, ts_us: int) -> None:
        """It was an ordinary one."""
        self.minute.learn(ts_us, WINDOWS * 60e6)
        self.ten_minutes.learn(ts_us, WINDOWS * 600e6)
        self.hour.learn(ts_us, WINDOWS * 3600e6)
