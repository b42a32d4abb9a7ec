"""Is the resource more sensitive than those that this agent usually touches?"""

from __future__ import annotations

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

LEAST_DEVIATION = 0.08


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations above the usual sensitivity, less one and a half."""
    return profile.sensitivity.above(seen.sensitivity, LEAST_DEVIATION, 1.5)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    return f"sensitivity {seen.sensitivity:.2f}", f"{profile.sensitivity.mean:.2f}"


FEATURE = Feature("sensitivity", "behaviour", measure, describe)
