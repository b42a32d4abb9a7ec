"""Does it do the same thing more often in one session than it usually does?"""

from __future__ import annotations

import math

from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 16
LEAST_DEVIATION = 0.4


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """Standard deviations above the usual count so far, on a logarithmic scale, less two."""
    usual = profile.repeats.get(seen.kind)
    if usual is None or usual.n < ENOUGH:
        return 0.0
    return bounded(usual.z(math.log1p(seen.repeats), LEAST_DEVIATION) - 2.0)


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    usual = profile.repeats.get(seen.kind)
    typical = f"{math.expm1(usual.mean):.0f} before it" if usual else "not known"
    return f"{seen.kind} for the {seen.repeats + 1}. time in this session", typical


FEATURE = Feature("repetition", "behaviour", measure, describe)
