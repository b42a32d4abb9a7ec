"""Mean and variance that forget slowly: exponentially weighted, exact while young (West 1979)."""

from __future__ import annotations

import math

import msgspec


class Moments(msgspec.Struct, array_like=True):
    """Of a stream of numbers. The weight of a new one is 1/n at first and never less than `FLOOR`."""

    n: int = 0
    mean: float = 0.0
    var: float = 0.0

    def add(self, value: float) -> None:
        self.n += 1
        weight = max(1.0 / max(self.n, 1), FLOOR)
        delta = value - self.mean
        self.mean += weight * delta
        self.var = (1.0 - weight) * (self.var + weight * delta * delta)

    def z(self, value: float, least_deviation: float) -> float:
        """Standard deviations above the mean (negative: below); a spread under `least_deviation` counts as that."""
        return (value - self.mean) / max(math.sqrt(max(self.var, 0.0)), least_deviation)


FLOOR = 1 / 500
"""Half of what is known is forgotten after about 350 actions of a kind."""
