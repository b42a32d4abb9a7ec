"""What the pipeline concluded about an action: topic `vaultak.verdicts`."""

from __future__ import annotations

import enum

from msgspec import Struct

from vaultak.wire.events import AgentId, Identifier, Timestamp, Unit


class Decision(enum.StrEnum):
    """In rising severity. `require_approval` of a policy is `pause` with an approval request."""

    ALLOW = "allow"
    ALERT = "alert"
    PAUSE = "pause"
    BLOCK = "block"
    ROLLBACK = "rollback"
    KILL = "kill"


SEVERITY: dict[Decision, int] = {decision: rank for rank, decision in enumerate(Decision)}
"""Rank of a decision: the most severe of several wins."""


class Factors(Struct, frozen=True):
    """The parts of a risk, each in 0..1. `None` means not ready yet, never "no risk"."""

    destructiveness: Unit | None = None
    sensitivity: Unit | None = None
    payload: Unit | None = None
    rate: Unit | None = None
    behaviour: Unit | None = None
    provenance: Unit | None = None


class Contribution(Struct, frozen=True):
    """One reason for a risk: what was seen against what is typical, and how much it weighed (0..1)."""

    feature: str
    value: str
    typical: str
    contribution: float


class Verdict(Struct, frozen=True, kw_only=True):
    """Risk, factors and decision for one action."""

    action_id: Identifier
    agent_id: AgentId
    session_id: Identifier
    ts: Timestamp
    scored_ts: Timestamp
    risk: Unit
    factors: Factors
    explanation: tuple[Contribution, ...] = ()
    decision: Decision
    rules: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    policy_version: str = ""
    model_version: str = ""
    baseline_events: int = 0
