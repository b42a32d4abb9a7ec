"""Is the agent active at this hour of the day (UTC)?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 200
"""Below it the hours seen say when the agent was installed, not when it works."""
DAYS_US = 3 * 86_400_000_000
"""An agent that is active for few hours a day must have been for so many days."""
FAR = 4
"""Hours from any in which the agent was active that count for twice as much as two hours."""


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln p` of the hour above that of a uniform day, more the further it is from an hour in use; 0 next to one, and
    while too little is known."""
    hours, hour = profile.hours, seen.hour
    if hours[hour] or hours[hour - 1] or hours[hour - 23] or profile.events < ENOUGH:
        return 0.0
    if hours.count(0) > 18 and seen.ts_us - profile.first_us < DAYS_US:
        return 0.0
    distance = next((d for d in range(2, FAR) if hours[hour - d] or hours[hour - 24 + d]), FAR)
    return bounded(tally.surprise(hours[hour], sum(hours), 24, 3.2) * distance / 2)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    usual = tally.most(dict(enumerate(profile.hours)), 3)
    return f"{seen.hour:02}:00 UTC", ", ".join(f"{hour:02}:00" for hour in usual)


FEATURE = Feature("hour of day", "behaviour", measure, describe)
