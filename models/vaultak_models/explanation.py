"""Why a risk is what it is: the three heaviest reasons, in words for the person who has to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vaultak.wire import Contribution
from vaultak_models.baseline.habit import Habit
from vaultak_models.features import FEATURES
from vaultak_models.profile import AgentProfile
from vaultak_models.provenance.origin import Origin
from vaultak_models.sighting import Sighting

TOP = 3
NATS_OF_FULL_EVIDENCE = 4 * math.log(10)
LEAST = 1.0
"""Nats below which a feature is no reason."""
LEAST_PROVENANCE = 0.3


def explain(
    profile: AgentProfile, seen: Sighting, habit: Habit | None, measures: Sequence[float], origin: Origin
) -> tuple[Contribution, ...]:
    """The heaviest reasons first, at most `TOP`; ties in the order of the features."""
    from_origin = reasons_of_origin(origin)
    if max(measures) < LEAST:
        return from_origin
    ranked = sorted([(-measure, index) for index, measure in enumerate(measures) if measure >= LEAST])[:TOP]
    features = [_contribution(profile, seen, habit, index, -negative) for negative, index in ranked]
    if not from_origin:
        return tuple(features)
    return tuple(sorted((*from_origin, *features), key=lambda c: -c.contribution)[:TOP])


def reasons_of_origin(origin: Origin) -> tuple[Contribution, ...]:
    """What speaks against where the action came from."""
    if origin.provenance < LEAST_PROVENANCE:
        return ()
    if origin.way_out:
        value = "sends to a stranger after untrusted input and private data"
        return (Contribution("flow of data", value, "a known or requested receiver", origin.provenance),)
    if origin.unseen:
        value = "takes away what nobody named in this session"
        return (Contribution("origin of the target", value, "it looks first", origin.provenance),)
    if origin.foreign is None:
        return (
            Contribution("no reason in the request", "nothing asked for it", "the request asks", origin.provenance),
        )
    value = f"{origin.foreign.member[:40]} `{origin.foreign.value[:100]}` was only in the output of a tool"
    return (Contribution("origin of an argument", value, "the request or the past names it", origin.provenance),)


def _contribution(
    profile: AgentProfile, seen: Sighting, habit: Habit | None, index: int, measure: float
) -> Contribution:
    feature = FEATURES[index]
    value, typical = feature.describe(profile, seen, habit)
    return Contribution(feature.name, value[:200], typical[:200], round(min(1.0, measure / NATS_OF_FULL_EVIDENCE), 4))
