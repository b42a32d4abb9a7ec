"""Has the payload members that this kind of action did not have before?"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 8


def _new(seen: Sighting, habit: Habit) -> list[str]:
    return [name for name in seen.fields if name not in habit.fields]


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`ln` of how many such actions came without the new member; 0 when there is none or too few came."""
    if habit is None or habit.times < ENOUGH:
        return 0.0
    known = habit.fields
    for name in seen.fields:
        if name not in known:
            return bounded(math.log1p(habit.times))
    return 0.0


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    known = sorted(habit.fields) if habit else []
    new = _new(seen, habit) if habit else list(seen.fields)
    return f"new members {', '.join(new[:4])}", ", ".join(known[:6]) or "none"


FEATURE = Feature("payload members", "payload", measure, describe)
