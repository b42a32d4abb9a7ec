"""Is the very resource new, for an agent that seldom touches new ones?"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.peers import USUAL
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln` of how often this agent's resources are new; 0 for a known one."""
    if seen.resource_id in profile.resources:
        return 0.0
    measured = bounded(-math.log(max(profile.new_resources.mean, 0.5 / (profile.events + 1))))
    return min(measured, USUAL) if seen.usual_place else measured


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    return f"new resource {seen.resource[:120]}", f"{profile.new_resources.mean:.0%} of actions touch a new one"


FEATURE = Feature("new resource", "behaviour", measure, describe)
