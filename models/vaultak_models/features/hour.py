"""Is the agent active at this hour of the day (UTC)?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 200
"""Below it the hours seen say when the agent was installed, not when it works."""


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln p` of the hour above that of a uniform day; 0 while too little is known."""
    hours, hour = profile.hours, seen.hour
    if hours[hour] or hours[hour - 1] or hours[hour - 23] or profile.events < ENOUGH or hours.count(0) > 18:
        return 0.0
    return tally.surprise(hours[hour], sum(hours), 24, 3.2)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    usual = tally.most(dict(enumerate(profile.hours)), 3)
    return f"{seen.hour:02}:00 UTC", ", ".join(f"{hour:02}:00" for hour in usual)


FEATURE = Feature("hour of day", "behaviour", measure, describe)
