"""From evidence to risk: how odd the action is, times what it can do at worst."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FULL_EVIDENCE = 3.5
"""`-log10 p` that counts as full evidence: once in three thousand actions of ordinary agents."""

FOREST_WEIGHT = 20.0
"""Nats that the forest's score adds per unit above 0.5, its value for an average action."""

UNREADY_SHARE = 0.6
"""Without a baseline the static risk counts only in part: it alone never pauses an agent."""


class RiskConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment may turn."""

    harmless_share: float = 0.45
    """The share of the evidence that counts against an action that can do no harm at all; the rest grows with harm."""
    odd_evidence: float = 0.5
    """Actions with at least this evidence are learnt an hour later, and the rest of their session with them."""
    very_odd_evidence: float = 0.7
    """Actions with at least this evidence are learnt a week later."""


DEFAULT = RiskConfig()


def harm(destructiveness: float, sensitivity: float) -> float:
    """What an action can do at worst, 0..1: it changes much, or it touches what is worth most; either will do."""
    return 1.0 - (1.0 - destructiveness) * (1.0 - sensitivity)


def figure(tail_sum: Floats, forest_score: Floats) -> Floats:
    """One number per action from both detectors, in nats: the higher the odder. Shapes (n,)."""
    result: Floats = tail_sum + FOREST_WEIGHT * np.maximum(forest_score - 0.5, 0.0)
    return result


def evidence(figures: Floats, knots: Floats, exceedance: Floats) -> Floats:
    """0..1 per action: `-log10 p / 3.5`, where p is the share of ordinary actions with a figure at least as high.

    `knots` rise; `exceedance` is `-log10 p` at each. Between knots it is interpolated.
    """
    result: Floats = np.minimum(np.interp(figures, knots, exceedance) / FULL_EVIDENCE, 1.0)
    return result


def fuse(static_risk: float, worst: float, behaviour: float | None, provenance: float, c: RiskConfig) -> float:
    """The risk, 0..1. `worst` is `harm`.

    Half the static risk is the floor (more without a baseline). Behaviour counts as `evidence * (h + (1 - h) * worst)`, where h is
    `harmless_share`; provenance likewise; the highest of the three decides.
    """
    floor = UNREADY_SHARE * static_risk if behaviour is None else 0.5 * static_risk
    weight = c.harmless_share + (1.0 - c.harmless_share) * worst
    return min(1.0, max(floor, (behaviour or 0.0) * weight, provenance))
