"""What a feature is: one number that says how unlike this agent an action is, and words for it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from vaultak_models.baseline.ceiling import CEILING, bounded
from vaultak_models.baseline.habit import Habit
from vaultak_models.profile import AgentProfile
from vaultak_models.sighting import Sighting


class Feature(msgspec.Struct, frozen=True):
    """`measure(profile, seen, habit)` is in 0..`CEILING`, 0 for quite ordinary; in nats (-ln p) or standard deviations.

    `habit` is what the profile knows of this kind of action, if anything.
    `describe` gives (what was seen, what is typical) for people. Both are pure and never raise.
    """

    name: str
    factor: str
    """The factor of the verdict that it counts towards: `behaviour`, `rate` or `payload`."""
    measure: Callable[[AgentProfile, Sighting, Habit | None], float]
    describe: Callable[[AgentProfile, Sighting, Habit | None], tuple[str, str]]


__all__ = ["CEILING", "Feature", "bounded"]
