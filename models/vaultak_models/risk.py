"""From evidence to risk: how odd the action is, times what it can do at worst."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FULL_EVIDENCE = 2.7
"""`-log10 p` that counts as full evidence: once in five hundred actions of ordinary agents."""

FOREST_WEIGHT = 20.0
"""Nats that the forest's score adds per unit above 0.5, its value for an average action."""

UNREADY_SHARE, READY_SHARE = 0.6, 0.5
"""How much the static risk counts without a baseline and with one: alone it never pauses an agent."""


CHANGES = 0.3
"""Destructiveness from which an action does more than look. Looking at what is most sensitive is as bad as ever; at
what is somewhat so, less than changing it."""


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


def reach(evidence_needed: float, knots: Floats, exceedance: Floats) -> float:
    """The smallest figure with at least this evidence; infinite when there is none."""
    low, high = float(knots[0]), float(knots[-1])
    if evidence(np.array([high]), knots, exceedance)[0] < evidence_needed:
        return float("inf")
    if evidence(np.array([low]), knots, exceedance)[0] >= evidence_needed:
        return float("-inf")
    while (middle := low + (high - low) / 2) not in (low, high):
        if evidence(np.array([middle]), knots, exceedance)[0] >= evidence_needed:
            high = middle
        else:
            low = middle
    return high


class Stakes(NamedTuple):
    """What is known of actions beside their behaviour; each of shape (n,), 0..1."""

    destructiveness: Floats
    sensitivity: Floats
    static: Floats
    """The risk that the two come to without knowing the agent."""
    provenance: Floats
    reason: Floats
    """How much the request gives reason for the action, as past sessions show."""


def fuse(stakes: Stakes, behaviour: Floats, c: RiskConfig) -> Floats:
    """The risk, 0..1: the highest of three. Shapes (n,).

    The static risk counts in part. Behaviour counts as `evidence * (1 - d * reason) * (h + (1 - h) * harm)`, where
    d is `reasoned_discount`, h is `harmless_share`, and `harm` what the action can do at worst: it changes much, or it
    touches what is worth most; either will do. Provenance counts as it is.
    """
    looks = np.maximum(1.0 - stakes.destructiveness / CHANGES, 0.0)
    harm = 1.0 - (1.0 - stakes.destructiveness) * (1.0 - stakes.sensitivity ** (1.0 + looks))
    weight = c.harmless_share + (1.0 - c.harmless_share) * harm
    odd = behaviour * (1.0 - c.reasoned_discount * stakes.reason) * weight
    result: Floats = np.minimum(np.maximum(np.maximum(READY_SHARE * stakes.static, odd), stakes.provenance), 1.0)
    return result


def fuse_unready(static: float, provenance: float) -> float:
    """The risk without a baseline: the static risk counts in part, provenance as it is."""
    return min(1.0, max(UNREADY_SHARE * static, provenance))
