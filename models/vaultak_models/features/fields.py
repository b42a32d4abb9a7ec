"""Has the payload members that this kind of action did not have before?"""

from __future__ import annotations

import math

from vaultak_models.features.feature import Feature, bounded
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

ENOUGH = 8


def _new(profile: AgentProfile, seen: Sighting) -> list[str]:
    return [name for name in seen.fields if f"{seen.kind} {name}" not in profile.fields]


def measure(profile: AgentProfile, seen: Sighting) -> float:
    """`ln` of how many such actions came without the new member; 0 when there is none or too few came."""
    times = profile.kinds.get(seen.kind, 0.0)
    return bounded(math.log1p(times)) if times >= ENOUGH and _new(profile, seen) else 0.0


def describe(profile: AgentProfile, seen: Sighting) -> tuple[str, str]:
    prefix = f"{seen.kind} "
    known = sorted(name.removeprefix(prefix) for name in profile.fields if name.startswith(prefix))
    return f"new members {', '.join(_new(profile, seen)[:4])}", ", ".join(known[:6]) or "none"


FEATURE = Feature("payload members", "payload", measure, describe)
