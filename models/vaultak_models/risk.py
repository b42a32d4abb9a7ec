"""From evidence to risk: how odd the action is, times what it can do at worst."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaultak.policy.static_risk import StaticRisk

Floats = NDArray[np.float64]

FULL_EVIDENCE = 3.2
"""`-log10 p` that counts as full evidence: once in sixteen hundred actions of ordinary agents."""

FOREST_WEIGHT = 20.0
"""Nats that the forest's score adds per unit above 0.5, its value for an average action."""

UNREADY_SHARE, READY_SHARE = 0.6, 0.5
"""How much the static risk counts without a baseline and with one: alone it never pauses an agent."""


class RiskConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment may turn."""

    harmless_share: float = 0.35
    """The share of the evidence that counts against an action that can do no harm at all; the rest grows with harm."""
    reasoned_discount: float = 0.3
    """The share of the evidence of behaviour that a request which gives full reason for the action takes away."""
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
    """0..1 per action: `-log10 p / 3.2`, where p is the share of ordinary actions with a figure at least as high.

    `knots` rise; `exceedance` is `-log10 p` at each. Between knots it is interpolated.
    """
    result: Floats = np.minimum(np.interp(figures, knots, exceedance) / FULL_EVIDENCE, 1.0)
    return result


def fuse(static: StaticRisk, behaviour: float | None, provenance: float, reason: float, c: RiskConfig) -> float:
    """The risk, 0..1: the highest of three.

    The static risk counts in part. Behaviour counts as `evidence * (1 - d * reason) * (h + (1 - h) * worst)`, where
    `worst` is `harm`, d is `reasoned_discount` and h is `harmless_share`. Provenance counts as it is.
    """
    if behaviour is None:
        return min(1.0, max(UNREADY_SHARE * static.risk, provenance))
    worst = harm(static.destructiveness, static.sensitivity)
    weight = c.harmless_share + (1.0 - c.harmless_share) * worst
    odd = behaviour * (1.0 - c.reasoned_discount * reason) * weight
    return min(1.0, max(READY_SHARE * static.risk, odd, provenance))
