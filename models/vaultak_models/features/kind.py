"""Does this agent do this kind of thing at all?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """`-ln p` of the kind of action, less what the agent's most usual kind would get."""
    total = sum(profile.kinds.values())
    return bounded(tally.surprise(profile.kinds, seen.kind, total, len(profile.kinds) + 1) - 1.0)


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    times = profile.kinds.get(seen.kind, 0.0)
    return f"{seen.kind} ({times:.0f} times before)", ", ".join(tally.most(profile.kinds, 3))


FEATURE = Feature("kind of action", "behaviour", measure, describe)
