"""Does the agent act more often than it usually does, over an hour?"""

from __future__ import annotations

import math

from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

HORIZON = 2


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """Standard deviations above the usual decayed count, on a logarithmic scale, less two."""
    return bounded(profile.rates[HORIZON].excess() - 2.0)


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    rate = profile.rates[HORIZON]
    return f"{rate.count + 1:.0f} in an hour", f"{math.expm1(rate.usual.mean):.0f}"


FEATURE = Feature("actions in an hour", "rate", measure, describe)
