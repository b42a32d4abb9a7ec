"""Is the agent active at this hour of the day (UTC)?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 200
"""Below it the hours seen say when the agent was installed, not when it works."""


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """`-ln p` of the hour above that of a uniform day; 0 while too little is known."""
    near = {str((seen.hour + shift) % 24) for shift in (-1, 0, 1)}
    if profile.events < ENOUGH or len(profile.hours) < 6 or any(hour in profile.hours for hour in near):
        return 0.0
    return bounded(tally.surprise(profile.hours, str(seen.hour), sum(profile.hours.values()), 24) - 3.2)


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    return f"{seen.hour:02}:00 UTC", ", ".join(f"{int(h):02}:00" for h in tally.most(profile.hours, 3))


FEATURE = Feature("hour of day", "behaviour", measure, describe)
