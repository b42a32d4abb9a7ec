"""Does it do the same thing more often in one session than it usually does?"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 16
LEAST_DEVIATION = 0.4


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations above the usual count so far, on a logarithmic scale, less two."""
    if habit is None or habit.repeats.n < ENOUGH:
        return 0.0
    return habit.repeats.above(math.log1p(seen.repeats), LEAST_DEVIATION, 2.0)


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    typical = f"{math.expm1(habit.repeats.mean):.0f} before it" if habit else "not known"
    return f"{seen.kind} for the {seen.repeats + 1}. time in this session", typical


FEATURE = Feature("repetition", "behaviour", measure, describe)
