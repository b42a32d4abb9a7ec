"""An action that undoes or destroys something that nobody named in its session, by an agent that looks first.

Its target comes from nowhere: not from the request, not from an output, not from an earlier action. An agent whose
cancellations and deletions nearly always follow a look at what is to go does not suddenly know what to remove.
"""

from __future__ import annotations

from collections.abc import Sequence

from vaultak_models.baseline.habit import Habit

UNDOES = 0.6
"""Destructiveness from which an action takes something away."""
ENOUGH = 20
"""Such actions that must have had this member."""
SELDOM = 0.05
"""The share of them in which nobody had named it, at most."""


def takes_unseen(habit: Habit | None, unmentioned: Sequence[str], destructiveness: float) -> float:
    """How much the origin of the target counts: 0, or 0.55 + 0.3 * destructiveness."""
    if habit is None or destructiveness < UNDOES:
        return 0.0
    for name in unmentioned:
        times = habit.fields.get(name, 0)
        if times >= ENOUGH and habit.unmentioned.get(name, 0) + 0.5 <= SELDOM * (times + 1):
            return 0.55 + 0.3 * destructiveness
    return 0.0
