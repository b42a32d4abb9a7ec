"""Mean and variance that forget slowly: exponentially weighted, exact while young (West 1979)."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from vaultak_models.baseline.ceiling import bounded
from vaultak_models.baseline.tally import Count

LARGEST = 1e18
"""Beyond any count, size or time in microseconds."""
Finite = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Time = Annotated[int, msgspec.Meta(ge=-(10**18), le=10**18)]
"""Microseconds since 1970."""


class Moments(msgspec.Struct, array_like=True, gc=False):
    """Of a stream of numbers. The weight of a new one is 1/n at first and never less than `FLOOR`."""

    n: Count = 0
    mean: Finite = 0.0
    var: Positive = 0.0

    def add(self, value: float) -> None:
        self.n = n = self.n + 1
        weight = 1.0 / n if n < YOUNG else FLOOR
        change = weight * (value - self.mean)
        self.var = (1.0 - weight) * (self.var + change * (value - self.mean))
        self.mean += change

    def above(self, value: float, least_deviation: float, slack: float) -> float:
        """Standard deviations above the mean, less `slack`, bounded.

        A spread under `least_deviation` counts as that.
        """
        over = value - self.mean
        if over <= slack * least_deviation:
            return 0.0
        deviation = math.sqrt(self.var)
        return bounded(over / (deviation if deviation > least_deviation else least_deviation) - slack)


YOUNG = 500
FLOOR = 1 / YOUNG
"""Half of what is known is forgotten after about 350 actions of a kind."""
