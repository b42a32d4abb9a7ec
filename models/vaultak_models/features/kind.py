"""Does this agent do this kind of thing at all?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.peers import USUAL
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln p` of the kind of action, less what the agent's most usual kind would get."""
    times = 0 if habit is None else habit.times
    measured = tally.surprise(times, profile.events, len(profile.habits) + 1, 1.0)
    return min(measured, USUAL) if seen.usual_kind else measured


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    usual = sorted([(-known.times, kind) for kind, known in profile.habits.items()])[:3]
    times = 0 if habit is None else habit.times
    return f"{seen.kind} ({times} times before)", ", ".join([kind for _, kind in usual])


FEATURE = Feature("kind of action", "behaviour", measure, describe)
