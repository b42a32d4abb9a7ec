"""How often an agent acts: exponentially decaying counts over a minute, ten minutes, an hour."""

from __future__ import annotations

import math

import msgspec

from vaultak_models.baseline.moments import Moments

HORIZONS_S = (60.0, 600.0, 3600.0)
LABELS = ("a minute", "ten minutes", "an hour")


class Rate(msgspec.Struct, array_like=True):
    """One horizon: the decayed count now, and what it usually is."""

    count: float = 0.0
    usual: Moments = msgspec.field(default_factory=Moments)

    def decay(self, elapsed_s: float, horizon_s: float) -> None:
        self.count *= math.exp(-max(0.0, elapsed_s) / horizon_s)

    def excess(self) -> float:
        """Standard deviations by which this action makes the count exceed the usual, on a logarithmic scale."""
        return self.usual.z(math.log1p(self.count + 1.0), 0.35)

    def add(self) -> None:
        self.count += 1.0

    def learn(self) -> None:
        self.usual.add(math.log1p(self.count))
