"""Does it act on something that nobody named in this session, where that is unusual?

An agent that looks things up before it changes them does not suddenly change what it has not looked up.
"""

from __future__ import annotations

import math

from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 8


def _share(profile: AgentProfile, key: str) -> float:
    """How often this member of this kind of action has a value that nobody named; 1 while too little is known."""
    times = profile.fields.get(key, 0.0)
    return min(1.0, (profile.unmentioned.get(key, 0.0) + 0.5) / (times + 1.0)) if times >= ENOUGH else 1.0


def _oddest(profile: AgentProfile, seen: Sighting) -> tuple[float, str]:
    return min(((_share(profile, f"{seen.kind} {name}"), name) for name in seen.unmentioned), default=(1.0, ""))


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """`-ln` of the smallest share."""
    return bounded(-math.log(_oddest(profile, seen)[0]))


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    share, name = _oddest(profile, seen)
    return f"nothing in this session named this {name}", f"so in {share:.0%} of these actions"


FEATURE = Feature("unmentioned target", "behaviour", measure, describe)
