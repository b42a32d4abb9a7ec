"""What is known of one kind of action of an agent, and what usually follows it."""

from __future__ import annotations

import msgspec

from vaultak_models.baseline.moments import Moments
from vaultak_models.baseline.tally import Count, Tally


class Habit(msgspec.Struct, array_like=True, gc=False):
    """Of one kind of action. How many members are kept is bounded over all kinds of an agent."""

    times: Count = 0
    sizes: Moments = msgspec.field(default_factory=Moments)
    """Of the logarithm of the payload's size."""
    repeats: Moments = msgspec.field(default_factory=Moments)
    """Of the logarithm of how often the same thing came before in a session."""
    fields: Tally = {}
    """Members of the payload."""
    unmentioned: Tally = {}
    """Of `fields`: how often with a value that nobody named before."""


class Following(msgspec.Struct, array_like=True, gc=False):
    """The kinds that came after one kind."""

    total: Count = 0
    kinds: Tally = {}
