"""Is the payload larger than this kind of action usually carries, or any action when the kind is new?"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.baseline.moments import Moments
from vaultak_models.features.feature import Feature
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

LEAST_DEVIATION = 0.35
ENOUGH = 8


def _usual(profile: AgentProfile, habit: Habit | None) -> Moments | None:
    if habit is None:
        return profile.any_size
    return habit.sizes if habit.sizes.n >= ENOUGH else None


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """Standard deviations above the usual, of the logarithm of the size, less one."""
    usual = _usual(profile, habit)
    return usual.above(seen.log_size, LEAST_DEVIATION, 1.0) if usual else 0.0


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    usual = _usual(profile, habit)
    return f"{math.expm1(seen.log_size):,.0f} bytes", f"{math.expm1(usual.mean):,.0f} bytes" if usual else "not known"


FEATURE = Feature("payload size", "payload", measure, describe)
