"""How often an agent acts: exponentially decaying counts over a minute, ten minutes, an hour."""

from __future__ import annotations

import math

import msgspec

from vaultak_models.baseline.moments import Moments

HORIZONS_S = (60.0, 600.0, 3600.0)
WINDOWS = 2.0
"""Horizons after which the highest count since is learnt: an agent that works in bursts is used to its bursts."""
ENOUGH = 5
"""Windows until there is a usual count."""
LEAST_DEVIATION = 0.35


class Rate(msgspec.Struct, array_like=True):
    """One horizon: the decayed count now, the highest in this window, and what the highest usually is."""

    count: float = 0.0
    peak: float = 0.0
    since_us: int = 0
    usual: Moments = msgspec.field(default_factory=Moments)

    def decay(self, elapsed_s: float, horizon_s: float) -> None:
        self.count *= math.exp(-max(0.0, elapsed_s) / horizon_s)

    @property
    def ready(self) -> bool:
        return self.usual.n >= ENOUGH

    def excess(self) -> float:
        """Standard deviations by which this action makes the count exceed the usual peak, on a logarithmic scale."""
        return self.usual.z(math.log1p(self.count + 1.0), LEAST_DEVIATION) if self.ready else 0.0

    def add(self) -> None:
        self.count += 1.0

    def learn(self, ts_us: int, horizon_s: float) -> None:
        self.peak = max(self.peak, self.count)
        if not self.since_us:
            self.since_us = ts_us
        elif ts_us - self.since_us >= WINDOWS * horizon_s * 1e6:
            self.usual.add(math.log1p(self.peak))
            self.peak, self.since_us = self.count, ts_us
