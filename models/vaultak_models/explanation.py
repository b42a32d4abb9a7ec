"""Why a risk is what it is: the three heaviest reasons, in words for the person who has to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vaultak.wire import Contribution
from vaultak_models.features import FEATURES
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting

TOP = 3
NATS_OF_FULL_EVIDENCE = 4 * math.log(10)
LEAST = 1.0
"""Nats below which a feature is no reason."""


def explain(profile: AgentProfile, seen: Sighting, measures: Sequence[float]) -> list[Contribution]:
    """The heaviest features first, at most `TOP`; ties in the order of the features."""
    ranked = sorted(range(len(measures)), key=lambda i: (-measures[i], i))[:TOP]
    return [_contribution(profile, seen, i, measures[i]) for i in ranked if measures[i] >= LEAST]


def _contribution(profile: AgentProfile, seen: Sighting, index: int, measure: float) -> Contribution:
    feature = FEATURES[index]
    value, typical = feature.describe(profile, seen)
    return Contribution(feature.name, value[:200], typical[:200], round(min(1.0, measure / NATS_OF_FULL_EVIDENCE), 4))
