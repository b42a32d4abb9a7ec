"""Is the action more destructive than this agent's usually are?"""

from __future__ import annotations

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

LEAST_DEVIATION = 0.08


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations above the usual destructiveness, less one and a half."""
    return profile.destructiveness.above(seen.destructiveness, LEAST_DEVIATION, 1.5)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    return f"destructiveness {seen.destructiveness:.2f}", f"{profile.destructiveness.mean:.2f}"


FEATURE = Feature("destructiveness", "behaviour", measure, describe)
