"""Is the directory, host, table or tool new, for an agent that stays with those it knows?"""

from __future__ import annotations

import math

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.peers import USUAL
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln` of how often this agent's directories, hosts, tables and tools are new; 0 for a known one."""
    if seen.group in profile.groups:
        return 0.0
    measured = bounded(-math.log(max(profile.new_groups.mean, 0.5 / (profile.events + 1))))
    return min(measured, USUAL) if seen.usual_place else measured


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    return f"first time in {seen.group[:120]}", ", ".join(g[:60] for g in tally.most(profile.groups, 3))


FEATURE = Feature("new place", "behaviour", measure, describe)
