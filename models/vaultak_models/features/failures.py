"""Do more of its actions fail than usual? Someone is trying doors."""

from __future__ import annotations

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

LEAST_DEVIATION = 0.15


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations of the recent share of failures above the usual, less two."""
    return profile.failures.above(profile.recent_failures, LEAST_DEVIATION, 2.0)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    return f"{profile.recent_failures:.0%} of the last actions failed", f"{profile.failures.mean:.0%}"


FEATURE = Feature("failures", "behaviour", measure, describe)
