"""What every feature keeps to: a bounded number, words for it, and nothing changed by looking."""

from __future__ import annotations

import math

import pytest

from vaultak.wire import Action
from vaultak_models.encounter import encounter
from vaultak_models.features import CEILING, FEATURES, Feature
from vaultak_models.profile import AgentProfile, Oddness
from vaultak_models.sighting import Sighting
from vaultak_models.simulate import fleet

Look = tuple[AgentProfile, Sighting]


def _looks() -> list[Look]:
    """Actions as they are seen by the profiles of their agents and by those of the others, young and old."""
    profiles, sightings = [AgentProfile()], []
    for life in fleet(21, 5, 120):
        profile = AgentProfile()
        for event, ts_us in life:
            if isinstance(event, Action):
                seen, _, _ = encounter(profile, event, ts_us)
                profile.take_in(seen, event.session_id, Oddness.NONE)
                sightings.append(seen)
            else:
                profile.fail()
        profiles.append(profile)
    return [(profile, seen) for profile in profiles for seen in sightings[::7]]


LOOKS = _looks()


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_is_a_bounded_number_with_words(feature: Feature) -> None:
    before = [profile.to_bytes() for profile, _ in LOOKS]
    for profile, seen in LOOKS:
        habit = profile.habits.get(seen.kind)
        measure = feature.measure(profile, seen, habit)
        assert math.isfinite(measure)
        assert 0.0 <= measure <= CEILING
        assert feature.measure(profile, seen, habit) == measure
        value, typical = feature.describe(profile, seen, habit)
        assert value
        assert isinstance(typical, str)
    assert [profile.to_bytes() for profile, _ in LOOKS] == before


def test_names_are_different_and_factors_are_those_of_a_verdict() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert {feature.factor for feature in FEATURES} == {"behaviour", "rate", "payload"}
