"""From a risk and a policy to a decision, with the rules and reasons that led there."""

from __future__ import annotations

import math
from typing import NamedTuple

from vaultak.policy import CompiledPolicy, PolicySettings, further_resources
from vaultak.wire import Action, Decision


class Ruling(NamedTuple):
    """A decision and why: ids of the rules that matched, and the same for people."""

    decision: Decision
    rules: tuple[str, ...]
    reasons: tuple[str, ...]


class Rules:
    """A policy, ready to decide. Pure: the same action, risk and rate always get the same ruling.

    The evaluation is the SDK's own, so that an agent and the stream read a policy alike; only the risk is the
    stream's.
    """

    def __init__(self, policy: PolicySettings) -> None:
        self._policy = CompiledPolicy(policy)
        self.version = policy.version

    def decide(self, action: Action, risk: float, actions_per_minute: float) -> Ruling:
        """The most severe of what explicit limits, risk and rate each call for.

        `risk` is in 0..1; `ValueError` otherwise: an engine that answers NaN or 7 has not judged.
        """
        if not 0.0 <= risk <= 1.0:
            raise ValueError(f"risk {risk} is not in 0..1")
        recent = math.floor(actions_per_minute)
        also = further_resources(action.payload)
        verdict = self._policy.evaluate(action.action_type, action.resource, recent, also=also, risk=risk)
        return Ruling(verdict.decision, verdict.rules, verdict.reasons)
