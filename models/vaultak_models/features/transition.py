"""Does this kind of thing come after the last one?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Habit
from vaultak_models.features.feature import Feature
from vaultak_models.peers import USUAL
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> float:
    """`-ln p` of the kind given the kind before."""
    following = profile.following.get(profile.last_kind)
    if following is None:
        return 0.0
    times = following.kinds.get(seen.kind, 0)
    measured = tally.surprise(times, following.total, len(profile.habits) + 1, 1.5)
    return min(measured, USUAL) if seen.usual_kind else measured


def describe(profile: AgentProfile, seen: Sighting, habit: Habit | None) -> tuple[str, str]:
    following = profile.following.get(profile.last_kind)
    usual = ", ".join(tally.most(following.kinds, 2)) if following else ""
    return f"{seen.kind} after {profile.last_kind}", usual or "nothing yet"


FEATURE = Feature("sequence of actions", "behaviour", measure, describe)
