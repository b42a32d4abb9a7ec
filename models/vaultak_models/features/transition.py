"""Does this kind of thing come after the last one?"""

from __future__ import annotations

from vaultak_models.baseline import tally
from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


def _after_last(profile: AgentProfile) -> tally.Tally:
    prefix = f"{profile.last_kind} > "
    return {name.removeprefix(prefix): n for name, n in profile.transitions.items() if name.startswith(prefix)}


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """`-ln p` of the kind given the kind before."""
    following = _after_last(profile)
    total = sum(following.values())
    return bounded(tally.surprise(following, seen.kind, total, len(profile.kinds) + 1) - 1.5) if following else 0.0


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    usual = ", ".join(tally.most(_after_last(profile), 2))
    return f"{seen.kind} after {profile.last_kind}", usual or "nothing yet"


FEATURE = Feature("sequence of actions", "behaviour", measure, describe)
