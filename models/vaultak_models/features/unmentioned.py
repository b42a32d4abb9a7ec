"""Does it act on something that nobody named in this session, where that is unusual?

An agent that looks things up before it changes them does not suddenly change what it has not looked up.
"""

from __future__ import annotations

import math

from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 8


def _share(habit: Habit, name: str) -> float:
    """How often this member of this kind of action has a value that nobody named; 1 while too little is known."""
    times = habit.fields.get(name, 0)
    return (habit.unmentioned.get(name, 0) + 0.5) / (times + 1.0) if times >= ENOUGH else 1.0


def _oddest(seen: Sighting, habit: Habit | None) -> tuple[float, str]:
    if habit is None:
        return (1.0, seen.unmentioned[0] if seen.unmentioned else "")
    return min([(_share(habit, name), name) for name in seen.unmentioned], default=(1.0, ""))


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln` of the smallest share."""
    if habit is None or not seen.unmentioned:
        return 0.0
    smallest = 1.0
    for name in seen.unmentioned:
        share = _share(habit, name)
        if share < smallest:
            smallest = share
    return bounded(-math.log(smallest))


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    share, name = _oddest(seen, habit)
    return f"nothing in this session named this {name}", f"so in {share:.0%} of these actions"


FEATURE = Feature("unmentioned target", "behaviour", measure, describe)
