"""Does the agent act more often than it usually does, over an hour?"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations above the usual decayed count, on a logarithmic scale, less two."""
    return profile.rates.hour.excess(2.0)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    rate = profile.rates.hour
    return f"{rate.count + 1:.0f} in an hour", f"{math.expm1(rate.usual.mean):.0f}"


FEATURE = Feature("actions in an hour", "rate", measure, describe)
